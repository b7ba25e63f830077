package updater

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater/diff"
)

// Inspected tells what an image, an update, or a slot is. The manifest of an
// ordinary image lacks sizes and hashes: they come to be when it is built.
type Inspected struct {
	Kind string `json:"kind"` // "image", "update" or "slot"
	Name string `json:"name"`
	// Digest is that of the OCI manifest; a slot has none.
	Digest string `json:"digest,omitempty"`
	manifest.Manifest
	Layers    int            `json:"layers,omitempty"`
	Files     int            `json:"files,omitempty"`
	FileBytes int64          `json:"file_bytes,omitempty"`
	Fetched   int64          `json:"download_bytes,omitempty"` // compressed
	Dropped   map[string]int `json:"dropped_xattrs,omitempty"`
	SlotBytes int64          `json:"slot_bytes,omitempty"`
	SignatureStatus
	Signed bool `json:"signed"` // whoever did

	SignatureList []FoundSignature `json:"signature_list,omitempty"`

	// What an OCI manifest says besides.
	Blobs       []Blob            `json:"blobs,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`  // of an image's config
	Subject     *Blob             `json:"subject,omitempty"` // manifest of the image that it belongs to
	// Referrers are what belongs to it likewise: updates made of it, and what
	// others hung on it.
	Referrers []Referrer `json:"referrers,omitempty"`

	// What was asked for besides.
	FileList        []diff.Listed  `json:"file_list,omitempty"`
	PackageDatabase string         `json:"package_database,omitempty"` // path; "" for none that is known
	Packages        []diff.Package `json:"packages,omitempty"`
}

// A FoundSignature is one that lies beside an image.
type FoundSignature struct {
	Kind     string `json:"kind"` // "simple" or "bundle"
	SignedBy string `json:"signed_by,omitempty"`
}

// A Blob is one document or layer of an OCI artifact.
type Blob struct {
	Role      string `json:"role"` // "config", "squashfs", "hash tree", "list of layers", "layer" or "subject"
	MediaType string `json:"media_type"`
	Digest    string `json:"digest"`
	Bytes     int64  `json:"bytes"`
}

// A Referrer is a manifest whose subject is another one.
type Referrer struct {
	ArtifactType string            `json:"artifact_type"`
	Digest       string            `json:"digest"`
	Bytes        int64             `json:"bytes"` // of the manifest
	Annotations  map[string]string `json:"annotations,omitempty"`
}

func (s *System) slotName(slot bootctl.Slot) string {
	return fmt.Sprintf("slot %v of %s", slot, s.name)
}

// describeOCI fills in what an OCI manifest says.
func (in *Inspected) describeOCI(img *oci.Image) error {
	type descriptor struct {
		MediaType string
		Digest    string
		Size      int64
	}
	var m struct {
		Config  descriptor
		Layers  []descriptor
		Subject *descriptor
	}
	if err := json.Unmarshal(img.ManifestRaw(), &m); err != nil {
		return fault.Errorf(fault.Verify, "%v: manifest %s: %w", img.Reference(), img.Digest(), err)
	}
	in.Digest, in.Layers, in.Fetched = img.Digest(), len(m.Layers), img.Size()
	in.Annotations, in.Labels = img.Annotations(), img.Labels()
	blob := func(role string, d descriptor) Blob { return Blob{role, d.MediaType, d.Digest, d.Size} }
	in.Blobs = append(in.Blobs, blob("config", m.Config))
	for _, l := range m.Layers {
		role := "layer"
		switch l.MediaType {
		case manifest.SquashfsMediaType:
			role = "squashfs"
		case manifest.TreeMediaType:
			role = "hash tree"
		case manifest.LayersMediaType:
			role = "list of layers"
		}
		in.Blobs = append(in.Blobs, blob(role, l))
	}
	if m.Subject != nil {
		subject := blob("subject", *m.Subject)
		in.Subject = &subject
	}
	return nil
}

// findReferrers lists what belongs to an image.
func (in *Inspected) findReferrers(ctx context.Context, img *oci.Image) error {
	descs, err := img.Referrers(ctx, "")
	for _, d := range descs {
		in.Referrers = append(in.Referrers, Referrer{d.ArtifactType, d.Digest.String(), d.Size, d.Annotations})
	}
	return err
}

// findSignatures looks for those beside an image.
func (in *Inspected) findSignatures(ctx context.Context, img *oci.Image, ring Keyring) error {
	found, err := img.Signatures(ctx)
	if err != nil {
		return err
	}
	in.Signatures, in.Signed = len(found), len(found) > 0
	for _, s := range found {
		kind := "simple"
		if len(s.Bundle) > 0 {
			kind = "bundle"
		}
		in.SignatureList = append(in.SignatureList, FoundSignature{Kind: kind, SignedBy: ring.maker(img, s)})
	}
	if len(ring.Keys) > 0 {
		in.set(ring.verifyImage(img, found))
	}
	return nil
}

// maker is the key that made a signature on the image, "" when none did.
func (r Keyring) maker(img *oci.Image, s oci.Signature) string {
	k, err := r.verifyImage(img, []oci.Signature{s})
	if err != nil {
		return ""
	}
	return k.String()
}
