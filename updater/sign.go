package updater

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater/trust"
	"github.com/abupdate/abupdate/updater/trust/keys"
)

// Sign signs the image or update that name stands for with those of the keys
// that have not signed it yet, and puts the signatures beside it. It returns
// the digest that is signed now.
func Sign(ctx context.Context, name string, with []*keys.Private, opt oci.Options) (digest string, err error) {
	ref, err := oci.ParseReference(name)
	if err != nil {
		return "", fault.Wrap(fault.Usage, err)
	}
	img, err := oci.Resolve(ctx, ref, opt)
	if err != nil {
		return "", err
	}
	defer img.Close()
	return img.Digest(), sign(ctx, ref, img.Digest(), with, opt)
}

// sign adds the signatures that are missing on a digest. Its image need not be
// there yet.
func sign(ctx context.Context, at oci.Reference, digest string, with []*keys.Private, opt oci.Options) error {
	if len(with) == 0 {
		return nil
	}
	return oci.AddSignatures(ctx, at, digest, opt, func(have []oci.Signature) ([]oci.Signature, error) {
		var add []oci.Signature
		for _, k := range with {
			if _, err := (trust.Set{k.Public()}).VerifyDigest(digest, signatures(have)); err == nil {
				continue
			}
			s, err := k.Sign(digest, identity(at))
			if err != nil {
				return nil, err
			}
			add = append(add, oci.Signature(s))
		}
		return add, nil
	})
}

// identity is what a signature says of where its image was signed. Nobody
// should believe it.
func identity(ref oci.Reference) string {
	if ref.Local() {
		return ""
	}
	repo, _, _ := strings.Cut(strings.TrimPrefix(ref.String(), string(oci.Registry)+"://"), "@")
	if i := strings.LastIndexByte(repo, ':'); i > strings.LastIndexByte(repo, '/') {
		repo = repo[:i]
	}
	return repo
}

// Seal signs a manifest that belongs to no artifact: that of a slot that is
// filled where the key is. It returns what lies beside it in the slot.
func Seal(manifestRaw []byte, with []*keys.Private) ([]byte, error) {
	if len(with) == 0 {
		return nil, nil
	}
	sum := sha256.Sum256(manifestRaw)
	doc, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: manifest.ArtifactType,
		Config: v1.Descriptor{
			MediaType: manifest.ConfigMediaType, Size: int64(len(manifestRaw)),
			Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])},
		},
		Layers: []v1.Descriptor{},
	})
	if err != nil {
		return nil, fmt.Errorf("sealing the slot's manifest: %w", err)
	}
	return seal(doc, with)
}

// seal signs an OCI manifest.
func seal(doc []byte, with []*keys.Private) ([]byte, error) {
	sum := sha256.Sum256(doc)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	envelope := trust.Envelope{OCIManifest: doc}
	for _, k := range with {
		s, err := k.Sign(digest, "")
		if err != nil {
			return nil, err
		}
		envelope.Signatures = append(envelope.Signatures, s)
	}
	return envelope.Encode()
}
