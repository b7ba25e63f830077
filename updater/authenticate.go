package updater

import (
	"context"
	"slices"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater/trust"
)

// authenticate checks who signed the image, before anything else that it says
// counts. An update's signature leads to its root hash and goes into the slot;
// that of an ordinary image ends at the image's digest.
func (a *apply) authenticate(ctx context.Context) error {
	ring, err := a.keyring()
	if err != nil {
		return err
	}
	if err := a.bootable(); err != nil {
		return err
	}
	found, err := a.img.Signatures(ctx)
	if err != nil && (len(ring.Keys) > 0 || a.booted != nil && a.booted.SignedOnly) {
		return err
	}
	if !a.img.IsUpdate() {
		if len(ring.Keys) == 0 {
			return nil
		}
		a.signer, err = ring.verifyImage(a.img, found)
		return err
	}
	envelope := ring.envelope(a.img, found)
	if len(ring.Keys) > 0 {
		raw, err := a.img.UpdateConfig()
		if err != nil {
			return err
		}
		if a.signer, err = ring.Keys.VerifyManifest(envelope, raw); err != nil {
			return fault.Errorf(fault.Verify, "%v%s: %w", a.img.Reference(), a.whence(), err)
		}
	}
	if len(envelope.Signatures) > 0 {
		a.envelope, err = envelope.Encode()
		return err
	}
	if a.booted != nil && a.booted.SignedOnly {
		return fault.Errorf(fault.Verify, "%v: %w: %s: unsigned, and this device starts only what is signed", a.img.Reference(), trust.ErrUntrusted, a.img.Digest())
	}
	return nil
}

// whence says why an update is at hand though an image was asked for.
func (a *apply) whence() string {
	if a.updateOf == "" {
		return ""
	}
	return ", made of image " + a.updateOf + " (--flatten takes that)"
}

// bootable refuses what the initramfs of this device would not start.
func (a *apply) bootable() error {
	if a.booted == nil || !a.booted.SignedOnly || a.img.IsUpdate() {
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
	return trust.Key{}, fault.Errorf(fault.Verify, "%v: %w", img.Reference(), last)
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
	ring, err := a.keyring()
	if err != nil {
		return false
	}
	if !a.img.IsUpdate() {
		return true // the image was checked; its slot has no signatures
	}
	if len(ring.Keys) == 0 {
		return len(c.Signatures) > 0 || len(a.envelope) == 0
	}
	return ring.slotStatus(c).SignedBy != ""
}
