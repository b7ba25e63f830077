package oci

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/abupdate/abupdate/internal/durable"
	"github.com/abupdate/abupdate/internal/fault"
)

// AddSignatures puts simple signatures beside the image with the given digest,
// where cosign looks for them, and keeps those that are there. to names the
// layout or the repository; its tag does not matter, and the image need not be
// there yet. missing is told what is there and returns what to add.
func AddSignatures(ctx context.Context, to Reference, digest string, opt Options, missing func(have []Signature) ([]Signature, error)) error {
	h, err := v1.NewHash(digest)
	if err != nil {
		return fmt.Errorf("adding signatures: %w", err)
	}
	switch to.Transport {
	case Layout:
		err = addToLayout(ctx, to.Path, h, missing)
	case Registry:
		err = addToRegistry(ctx, to, h, opt, missing)
	default:
		err = fault.Errorf(fault.Usage, "%s has no place for them", to.Transport)
	}
	if err != nil {
		return fmt.Errorf("adding signatures of %v in %v: %w", h, to, err)
	}
	return nil
}

func addToLayout(ctx context.Context, dir string, h v1.Hash, missing func([]Signature) ([]Signature, error)) error {
	img, err := signatureImage(ctx, layoutSource{dirFiles(dir)}, h, missing)
	if err != nil || img == nil {
		return err
	}
	desc, err := writeImage(filepath.Join(dir, "blobs", "sha256"), img)
	if err != nil {
		return err
	}
	desc.Annotations = map[string]string{refName: signatureTag(h)}
	return addToIndex(dir, signatureTag(h), desc)
}

func addToRegistry(ctx context.Context, to Reference, h v1.Hash, opt Options, missing func([]Signature) ([]Signature, error)) error {
	nref, err := remoteName(to, opt)
	if err != nil {
		return err
	}
	rt, err := authenticate(ctx, nref.Context(), opt, transport.PushScope)
	if err != nil {
		return registryKind(err)
	}
	src, err := newOriginal(nref.Context(), opt)
	if err != nil {
		return err
	}
	defer src.Close()
	tag := nref.Context().Tag(signatureTag(h))
	var added []Signature
	return insist(ctx, src.wire, func() (done bool, err error) {
		img, err := signatureImage(ctx, src, h, func(have []Signature) ([]Signature, error) {
			if added == nil {
				added, err = missing(have)
				return added, err
			}
			return lacking(have, added), nil
		})
		if err != nil || img == nil {
			return true, err
		}
		return false, registryKind(remote.Write(tag, img, remote.WithContext(ctx), remote.WithTransport(rt)))
	})
}

// lacking are those of wanted that are not among have.
func lacking(have, wanted []Signature) (lacks []Signature) {
	for _, w := range wanted {
		if !slices.ContainsFunc(have, func(s Signature) bool {
			return bytes.Equal(s.Payload, w.Payload) && bytes.Equal(s.Signature, w.Signature)
		}) {
			lacks = append(lacks, w)
		}
	}
	return lacks
}

// signatureImage is the image that holds the signatures of a digest: those
// there are, and those that are missing. It is nil when none are missing.
func signatureImage(ctx context.Context, src source, h v1.Hash, missing func([]Signature) ([]Signature, error)) (v1.Image, error) {
	have, err := tagSignatures(ctx, src, h)
	if err != nil {
		return nil, err
	}
	add, err := missing(have)
	if err != nil || len(add) == 0 {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, s := range append(have, add...) {
		img, err = mutate.Append(img, mutate.Addendum{
			Layer:       static.NewLayer(s.Payload, signatureMediaType),
			Annotations: map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(s.Signature)},
		})
		if err != nil {
			return nil, err
		}
	}
	return img, nil
}

// writeImage writes the blobs of a small image.
func writeImage(blobs string, img v1.Image) (v1.Descriptor, error) {
	layers, err := img.Layers()
	if err != nil {
		return v1.Descriptor{}, err
	}
	for _, l := range layers {
		if err := writeLayer(blobs, l); err != nil {
			return v1.Descriptor{}, err
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return v1.Descriptor{}, err
	}
	doc, err := img.RawManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	desc := describe(types.OCIManifestSchema1, doc)
	for _, b := range [][]byte{config, doc} {
		if err := writeFile(filepath.Join(blobs, describe("", b).Digest.Hex), b); err != nil {
			return desc, err
		}
	}
	return desc, durable.SyncDir(blobs)
}

func writeLayer(blobs string, l v1.Layer) error {
	h, err := l.Digest()
	if err != nil {
		return err
	}
	name := filepath.Join(blobs, h.Hex)
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	rc, err := l.Compressed()
	if err != nil {
		return err
	}
	defer rc.Close()
	return writeFrom(name, rc)
}
