package oci

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/abupdate/abupdate/internal/fault"
)

// A Signature is one that cosign, or build, put beside an image. What it is
// worth is for package trust to say.
type Signature struct {
	Payload   []byte // of simple signing, with the Signature over it
	Signature []byte
	Bundle    []byte // or a sigstore bundle, which holds both
}

// How cosign stores signatures: up to version 2 as layers of an image under a
// tag that is the digest, later as a referrer with a bundle.
const (
	signatureMediaType  = "application/vnd.dev.cosign.simplesigning.v1+json"
	emptyMediaType      = "application/vnd.oci.empty.v1+json" // of a config that says nothing
	signatureAnnotation = "dev.cosignproject.cosign/signature"
)

const (
	// maxSignatures bounds how many signatures of one image are looked at.
	maxSignatures = 64
	// maxSignature bounds a payload or bundle, in bytes.
	maxSignature = 256 << 10
)

// Digests returns the digest of the image's manifest and those of the indexes
// through which it was found: a signature on any of them covers the image.
func (img *Image) Digests() []string {
	all := []string{img.Digest()}
	for _, h := range img.indexes {
		all = append(all, h.String())
	}
	return all
}

// Signatures returns what lies beside the image, in a registry or a layout,
// as signatures on one of its Digests. None is no error. A docker-archive has
// no place for them. With an error of kind fault.Verify come those that can be
// read: whoever may push could hang something broken on the image.
func (img *Image) Signatures(ctx context.Context) ([]Signature, error) {
	src, ok := img.src.(neighbourhood)
	if !ok {
		return nil, nil
	}
	var all []Signature
	var broken error // the first that is broken
	for _, h := range append([]v1.Hash{img.descriptor.Digest}, img.indexes...) {
		simple, err := tagSignatures(ctx, img.src, h)
		all = append(all, simple...)
		if err != nil {
			err = fmt.Errorf("%v: reading the signatures of %v: %w", img.ref, h, err)
		}
		if broken = cmp.Or(broken, err); !mere(err) {
			return nil, err
		}
		bundles, err := bundleSignatures(ctx, src, img.src, h)
		all = append(all, bundles...)
		if err != nil {
			err = fmt.Errorf("%v: reading the signature bundles of %v: %w", img.ref, h, err)
		}
		if broken = cmp.Or(broken, err); !mere(err) {
			return nil, err
		}
	}
	return all, broken
}

// mere says whether an error is about one signature, so that others may be
// good.
func mere(err error) bool { return err == nil || fault.KindOf(err) == fault.Verify }

// tagSignatures reads those under the tag of a digest.
func tagSignatures(ctx context.Context, src source, h v1.Hash) ([]Signature, error) {
	doc, err := tagged(ctx, src, signatureTag(h))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return simpleSignatures(ctx, src, doc)
}

// bundleSignatures reads those in referrers. The list of them tells of types
// as it likes: with cosign's fallback tag not at all, with some registries of
// the config's. So the manifests decide.
func bundleSignatures(ctx context.Context, src neighbourhood, blobs source, h v1.Hash) ([]Signature, error) {
	referrers, err := src.referrers(ctx, h, bundleMediaType)
	if err != nil {
		return nil, err
	}
	var all []Signature
	var broken error
	looked := 0
	for _, d := range referrers {
		switch d.ArtifactType {
		case bundleMediaType, emptyMediaType, "":
		default:
			continue
		}
		if looked++; looked > maxSignatures {
			break
		}
		b, err := bundleOf(ctx, src, blobs, d)
		if err != nil {
			err = fmt.Errorf("referrer %v: %w", d.Digest, err)
		}
		if broken = cmp.Or(broken, err); !mere(err) {
			return nil, err
		}
		if b != nil {
			all = append(all, Signature{Bundle: b})
		}
	}
	return all, broken
}

// simpleSignatures reads the layers of an image that holds signatures, of so
// many as are looked at. Others than simple ones are passed over.
func simpleSignatures(ctx context.Context, blobs source, doc []byte) ([]Signature, error) {
	var m v1.Manifest
	if err := parse(doc, &m); err != nil {
		return nil, fault.Errorf(fault.Verify, "manifest of the signatures: %w", err)
	}
	var all []Signature
	var broken error
	for _, l := range m.Layers[:min(len(m.Layers), maxSignatures)] {
		text, ok := l.Annotations[signatureAnnotation]
		if !ok || l.MediaType != signatureMediaType {
			continue
		}
		s, err := simpleSignature(ctx, blobs, l, text)
		if broken = cmp.Or(broken, err); !mere(err) {
			return nil, err
		}
		if err == nil {
			all = append(all, s)
		}
	}
	return all, broken
}

func simpleSignature(ctx context.Context, blobs source, l v1.Descriptor, text string) (Signature, error) {
	sig, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return Signature{}, fault.Errorf(fault.Verify, "signature %v: %w", l.Digest, err)
	}
	payload, err := smallDocument(ctx, blobs, l)
	return Signature{Payload: payload, Signature: sig}, err
}

// bundleOf returns the bundle in a referrer, nil when it is something else.
func bundleOf(ctx context.Context, src neighbourhood, blobs source, d v1.Descriptor) ([]byte, error) {
	doc, err := src.manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	var m v1.Manifest
	if err := parse(doc, &m); err != nil {
		return nil, fault.Wrap(fault.Verify, err)
	}
	if m.ArtifactType != bundleMediaType && string(m.Config.MediaType) != bundleMediaType {
		return nil, nil
	}
	if len(m.Layers) != 1 {
		return nil, fault.Errorf(fault.Verify, "a signature bundle of %d layers; want 1", len(m.Layers))
	}
	if m.Layers[0].Size > maxSignature { // no signature, an attestation: an SBOM is as large
		return nil, nil
	}
	return smallDocument(ctx, blobs, m.Layers[0])
}

func smallDocument(ctx context.Context, blobs source, d v1.Descriptor) ([]byte, error) {
	if d.Size < 0 || d.Size > maxSignature {
		return nil, fault.Errorf(fault.Verify, "signature %v has %d bytes, more than %d", d.Digest, d.Size, maxSignature)
	}
	return document(ctx, blobs, d)
}

// signatureTag is the tag under which cosign keeps the signatures of a digest.
func signatureTag(h v1.Hash) string { return h.Algorithm + "-" + h.Hex + ".sig" }

// tagged returns the manifest under a tag; the error is fs.ErrNotExist when
// there is none.
func tagged(ctx context.Context, src source, tag string) ([]byte, error) {
	switch src := src.(type) {
	case shelf:
		index, err := src.index(ctx)
		if err != nil {
			return nil, err
		}
		for _, d := range index.Manifests {
			if d.Annotations[refName] == tag {
				return document(ctx, src, d)
			}
		}
	case *registrySource:
		r, err := src.get(ctx, "manifests/"+tag, types.OCIManifestSchema1, types.DockerManifestSchema2)
		if err == nil {
			return r.doc, nil
		}
		if !isNotFound(err) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("tag %s: %w", tag, fs.ErrNotExist)
}
