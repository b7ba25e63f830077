package updater

import (
	"context"
	"fmt"
	"slices"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater/trust"
)

// A voucher is what the signatures of an image are worth to this device.
type voucher struct {
	signer   trust.Key // the trusted key that has signed it, if keys are trusted
	envelope []byte    // of an update: what goes into the slot
}

// wantsSignature says whether what is unsigned is refused.
func (a *apply) wantsSignature() bool {
	return len(a.ring.Keys) > 0 || a.signedOnly()
}

// signedOnly says whether the initramfs has keys. Which, this system does not
// know.
func (s *System) signedOnly() bool { return s.booted != nil && s.booted.SignedOnly }

// authenticate checks who signed the image, before anything else that it says
// counts.
func (a *apply) authenticate(ctx context.Context) error {
	if err := a.bootable(); err != nil {
		return err
	}
	v, done := a.vouchers[a.img]
	if !done {
		var err error
		if v, err = a.vouch(ctx, a.img); err != nil {
			return err
		}
	}
	a.voucher = v
	a.source.signedBy(v.signer)
	return nil
}

// vouch looks for signatures that this device asks for. An update's leads to
// its root hash; that of an ordinary image ends at the image's digest. What
// cannot be read among them matters only when the others do not do.
func (a *apply) vouch(ctx context.Context, img *oci.Image) (v voucher, err error) {
	found, damaged := img.Signatures(ctx)
	if damaged != nil && a.wantsSignature() && fault.KindOf(damaged) != fault.Verify {
		return v, damaged
	}
	switch v, err = a.judge(img, found); {
	case err == nil:
		return v, nil
	case damaged != nil:
		return v, damaged
	}
	return v, fmt.Errorf("%v: %w", img.Reference(), err)
}

// judge says what signatures are worth.
func (a *apply) judge(img *oci.Image, found []oci.Signature) (v voucher, err error) {
	trusting := len(a.ring.Keys) > 0
	if !img.IsUpdate() {
		if trusting {
			v.signer, err = a.ring.verifyImage(img, found)
		}
		return v, err
	}
	envelope := a.ring.envelope(img, found)
	if trusting {
		raw, err := img.UpdateConfig()
		if err != nil {
			return v, err
		}
		if v.signer, err = a.ring.Keys.VerifyManifest(envelope, raw); err != nil {
			return v, fault.Wrap(fault.Verify, err)
		}
	}
	if len(envelope.Signatures) > 0 {
		v.envelope, err = envelope.Encode()
		return v, err
	}
	if a.signedOnly() {
		return v, fault.Errorf(fault.Verify, "%w: %s: unsigned, and this device starts only what is signed", trust.ErrUntrusted, img.Digest())
	}
	return v, nil
}

// bootable refuses what the initramfs of this device would not start.
func (a *apply) bootable() error {
	if !a.signedOnly() || a.img.IsUpdate() {
		return nil
	}
	return fault.Errorf(fault.Refused, "%v: is an ordinary image, and this device starts only updates that are signed: "+
		"its initramfs has keys and was made without --allow-local", a.img.Reference())
}

// verifyImage checks the signatures of an image.
func (r Keyring) verifyImage(img *oci.Image, found []oci.Signature) (trust.Key, error) {
	digests := img.Digests()
	if img.IsUpdate() { // only its own signature can lead to its root hash
		digests = digests[:1]
	}
	var last error
	for _, digest := range digests {
		k, err := r.Keys.VerifyDigest(digest, signatures(found))
		if err == nil {
			return k, nil
		}
		if last == nil {
			last = err
		}
	}
	return trust.Key{}, fault.Wrap(fault.Verify, last)
}

// envelope is what leads to an update's manifest: the signatures that are
// known to be good first, then others, as many as a slot has room for. An
// initramfs may know keys that this system does not.
func (r Keyring) envelope(img *oci.Image, found []oci.Signature) *trust.Envelope {
	all := signatures(found)
	good := func(s trust.Signature) bool {
		_, err := r.Keys.VerifyDigest(img.Digest(), []trust.Signature{s})
		return err == nil
	}
	slices.SortStableFunc(all, func(a, b trust.Signature) int {
		switch x, y := good(a), good(b); {
		case x == y:
			return 0
		case x:
			return -1
		}
		return 1
	})
	e := &trust.Envelope{OCIManifest: img.ManifestRaw(), KeyLists: r.lists}
	for _, s := range all {
		more := *e
		more.Signatures = append(slices.Clip(e.Signatures), s)
		if _, err := more.Encode(); err == nil {
			e = &more
		}
	}
	return e
}

func signatures(found []oci.Signature) []trust.Signature {
	all := make([]trust.Signature, len(found))
	for i, s := range found {
		all[i] = trust.Signature(s)
	}
	return all
}

// vouched says whether what is in a slot may stay there as far as signatures
// go.
func (a *apply) vouched(c *partitions.SlotContent) bool {
	trusting := len(a.ring.Keys) > 0
	switch {
	case !a.img.IsUpdate():
		return !trusting || a.ring.heldStatus(c, a.state.Slot(a.slot).Digest).SignedBy != ""
	case trusting:
		return a.ring.slotStatus(c).SignedBy != ""
	}
	return len(c.Signatures) > 0 || len(a.envelope) == 0
}
