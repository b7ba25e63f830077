package updater

import (
	"cmp"
	"context"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
)

// annotationCreated is when an update's system was made, RFC 3339.
const annotationCreated = "org.opencontainers.image.created"

// maxCandidates bounds how many updates of one image are looked at.
const maxCandidates = 32

// prebuilt returns the update that a publisher made of an ordinary image and
// put beside it, if there is one for this device, and closes the image; else
// the image itself. Of several it is the last one by creation.
func (a *apply) prebuilt(ctx context.Context, img *oci.Image) (*oci.Image, error) {
	if img.IsUpdate() || a.opt.Flatten {
		return img, nil
	}
	if err := a.checkDigest(img.Digest()); err != nil {
		return img, err
	}
	if only, err := a.digestOnly(img); only || err != nil {
		return img, err
	}
	descs, err := img.Referrers(ctx, manifest.ArtifactType)
	if err != nil {
		return img, err
	}
	for _, d := range newestFirst(descs) {
		update, err := a.candidate(ctx, img, d)
		switch {
		case err != nil:
			return img, err
		case update != nil:
			a.updateOf = img.Digest()
			return update, img.Close()
		}
	}
	return img, nil
}

// digestOnly says whether the digest in the reference is all that vouches for
// what is taken. An update is not what it names: whoever may push to the
// repository could have hung it on the image.
func (a *apply) digestOnly(img *oci.Image) (bool, error) {
	if img.Reference().Digest == "" || a.booted != nil && a.booted.SignedOnly {
		return false, nil
	}
	ring, err := a.keyring()
	if err != nil || len(ring.Keys) > 0 {
		return false, err
	}
	a.opt.Progress.Tell(Event{Step: StepResolve, Note: "no key is trusted, so only what has the digest asked for is taken, and no update made of it"})
	return true, nil
}

// candidate returns the update that a descriptor names, or nil when it is for
// another device. That it says of itself to be of this image tells the right
// one from what somebody hung on the image.
func (a *apply) candidate(ctx context.Context, img *oci.Image, d v1.Descriptor) (*oci.Image, error) {
	update, err := img.Sibling(ctx, d)
	if fault.KindOf(err) == fault.Refused { // another platform
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	raw, err := update.UpdateConfig()
	if err == nil {
		var m *manifest.Manifest
		if m, err = manifest.Decode(raw); err == nil && m.SourceDigest == img.Digest() && a.suits(m) {
			return update, nil
		}
	}
	if closeErr := update.Close(); closeErr != nil {
		return nil, closeErr
	}
	if err != nil {
		return nil, fault.Errorf(fault.Verify, "reading update %v, which is beside image %v: %w", update.Reference(), img.Reference(), err)
	}
	return nil, nil
}

// suits says whether an update is for devices of this kind. Whether it may be
// written is for preflight to say.
func (a *apply) suits(m *manifest.Manifest) bool {
	runs := a.facts.manifest
	return m.Architecture == a.facts.architecture && (runs == nil || runs.Compatible == "" || runs.Compatible == m.Compatible)
}

// newestFirst sorts by creation, then by digest, and drops what is too many.
func newestFirst(descs []v1.Descriptor) []v1.Descriptor {
	slices.SortFunc(descs, func(x, y v1.Descriptor) int {
		return cmp.Or(created(y).Compare(created(x)), cmp.Compare(y.Digest.String(), x.Digest.String()))
	})
	return descs[:min(len(descs), maxCandidates)]
}

// created is zero for an update that does not say.
func created(d v1.Descriptor) time.Time {
	t, err := time.Parse(time.RFC3339, d.Annotations[annotationCreated])
	if err != nil {
		return time.Time{}
	}
	return t
}
