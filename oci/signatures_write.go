package oci

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/abupdate/abupdate/internal/fault"
)

// AddSignatures puts simple signatures beside the image with the given digest,
// where cosign looks for them, and keeps those that are there. to names the
// layout or the repository; its tag does not matter.
func AddSignatures(ctx context.Context, to Reference, digest string, signatures []Signature, opt Options) error {
	h, err := v1.NewHash(digest)
	if err != nil {
		return fmt.Errorf("adding signatures: %w", err)
	}
	switch to.Transport {
	case Layout:
		err = addToLayout(ctx, to.Path, h, signatures)
	case Registry:
		err = addToRegistry(ctx, to, h, signatures, opt)
	default:
		err = fault.Errorf(fault.Usage, "%s has no place for them", to.Transport)
	}
	if err != nil {
		return fmt.Errorf("adding signatures of %v in %v: %w", h, to, err)
	}
	return nil
}

func addToLayout(ctx context.Context, dir string, h v1.Hash, add []Signature) error {
	src := layoutSource{dirFiles(dir)}
	doc, err := tagged(ctx, src, signatureTag(h))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	img, err := signatureImage(ctx, src, doc, add)
	if err != nil {
		return err
	}
	desc, err := writeImage(filepath.Join(dir, "blobs", "sha256"), img)
	if err != nil {
		return err
	}
	desc.Annotations = map[string]string{refName: signatureTag(h)}
	return addToIndex(dir, signatureTag(h), desc)
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
	return desc, syncDir(blobs)
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

func addToRegistry(ctx context.Context, to Reference, h v1.Hash, add []Signature, opt Options) error {
	nref, err := remoteName(to, opt)
	if err != nil {
		return err
	}
	rt, err := authenticate(ctx, nref.Context(), opt, transport.PushScope)
	if err != nil {
		return registryKind(err)
	}
	src, err := newRegistrySource(nref.Context(), opt)
	if err != nil {
		return err
	}
	defer src.Close()
	doc, err := tagged(ctx, src, signatureTag(h))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	img, err := signatureImage(ctx, src, doc, add)
	if err != nil {
		return err
	}
	if err := remote.Write(nref.Context().Tag(signatureTag(h)), img, remote.WithContext(ctx), remote.WithTransport(rt)); err != nil {
		return registryKind(err)
	}
	return nil
}

// signatureImage is the image that holds signatures: those of doc, its
// manifest until now, and more.
func signatureImage(ctx context.Context, blobs source, doc []byte, add []Signature) (v1.Image, error) {
	var all []Signature
	if doc != nil {
		var err error
		if all, err = simpleSignatures(ctx, blobs, doc); err != nil {
			return nil, err
		}
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, s := range append(all, add...) {
		if len(s.Bundle) > 0 {
			return nil, errors.New("a bundle is not a simple signature")
		}
		var err error
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
