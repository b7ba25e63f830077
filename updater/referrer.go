package updater

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
// the image itself. Of several it is the last one by creation. Where signatures
// are asked for, it is the last one that has one: anybody who may push could
// hang a later one on the image, and no device would get further.
func (a *apply) prebuilt(ctx context.Context, img *oci.Image) (*oci.Image, error) {
	if img.IsUpdate() || a.opt.Flatten {
		return img, nil
	}
	if err := a.checkDigest(img.Digest()); err != nil {
		return img, err
	}
	if a.digestOnly(img) {
		return img, nil
	}
	descs, err := img.Referrers(ctx, manifest.ArtifactType)
	if err != nil {
		return img, err
	}
	var wrong []error // with each that is passed over
	for _, d := range newestFirst(descs) {
		update, err := a.candidate(ctx, img, d)
		switch {
		case err == nil && update != nil:
			a.passOver(wrong)
			a.updateOf = img.Digest()
			return update, img.Close()
		case err == nil:
		case !a.wantsSignature() || fault.KindOf(err) != fault.Verify:
			return img, err
		default:
			wrong = append(wrong, err)
		}
	}
	if len(wrong) == 0 {
		return img, nil
	}
	a.passOver(wrong[1:])
	return img, fmt.Errorf("%w; it was found beside image %s (--flatten takes that)", wrong[0], img.Digest())
}

// passOver tells why updates were passed over.
func (a *apply) passOver(wrong []error) {
	for _, err := range wrong {
		a.opt.Progress.Tell(Event{Step: StepResolve, Note: fmt.Sprintf("an update is passed over: %v", err)})
	}
}

// digestOnly says whether the digest in the reference is all that vouches for
// what is taken. An update is not what it names: whoever may push to the
// repository could have hung it on the image.
func (a *apply) digestOnly(img *oci.Image) bool {
	if img.Reference().Digest == "" || a.wantsSignature() {
		return false
	}
	a.opt.Progress.Tell(Event{Step: StepResolve, Note: "no key is trusted, so only what has the digest asked for is taken, and no update made of it"})
	return true
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
	mine, err := a.checkCandidate(ctx, img, update)
	if mine && err == nil {
		return update, nil
	}
	return nil, errors.Join(err, update.Close())
}

// checkCandidate says whether an update is of this image and for this device.
// It is an error when nobody who is trusted has signed it.
func (a *apply) checkCandidate(ctx context.Context, img, update *oci.Image) (mine bool, err error) {
	raw, err := update.UpdateConfig()
	if err != nil {
		return false, err
	}
	m, err := manifest.Decode(raw)
	if err != nil {
		return false, fault.Errorf(fault.Verify, "%v: %w", update.Reference(), err)
	}
	if m.SourceDigest != img.Digest() || !a.suits(m) {
		return false, nil
	}
	if !a.wantsSignature() || a.where(update.Digest()) != "" {
		return true, nil // what is on this device is known
	}
	a.vouchers[update], err = a.vouch(ctx, update)
	return true, err
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
