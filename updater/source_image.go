package updater

import (
	"context"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater/trust"
)

// An imageSource is an ordinary image. How large its squashfs will be is not
// known before it is made, and what its files say of it not before they are
// read: that is the pass in which it is packed, unless survey is called.
type imageSource struct {
	*Image
	plan   *oci.Plan // once the layers were read
	signer trust.Key
}

// signedBy leaves word for the slot: what is made here is signed by nobody.
func (s *imageSource) signedBy(k trust.Key) { s.signer = k }

func (s *imageSource) describe() (manifest.Manifest, error) { return s.Describe(), nil }

func (s *imageSource) survey(ctx context.Context) (m manifest.Manifest, err error) {
	for {
		if s.plan, m, err = s.ReadHeaders(ctx); !oci.Elsewhere(err) {
			return m, err
		}
	}
}

func (s *imageSource) dropped() map[string]int {
	if s.plan == nil {
		return nil
	}
	return s.plan.Dropped
}

// A squashfs packs blocks of 128 KiB by themselves, so it gets no smaller than
// what a layer's compressor made of the same files by a whole stream; only
// equal files, and a layer that was hardly compressed, change that. Half is a
// bound that leaves room for both.
const leastRatio = 2

// Of an image with several layers the upper ones hide a part of the lower ones.
// More than half hidden is an image that nobody would ship.
const leastVisible = 2

// fits refuses what cannot fit, before anything is read that is not needed to
// know it. What it lets through may still be too large: the slot's end stops
// that.
func (s *imageSource) fits(slot bootctl.Slot, capacity int64) error {
	least := s.Size() / leastRatio
	if len(s.Layers()) > 1 {
		least /= leastVisible
	}
	if s.plan != nil {
		least = min(least, s.plan.Bytes)
	}
	if least > capacity {
		return fault.Errorf(fault.NoRoom, "image %s cannot fit: its layers have %d bytes compressed, which makes an image of at least %d; slot %v holds %d",
			s.Reference(), s.Size(), least, slot, capacity)
	}
	return nil
}

func (s *imageSource) fill(ctx context.Context, w target, _ Progress) (*filled, error) {
	hashes, err := w.Hashes()
	if err != nil {
		return nil, err
	}
	made, err := s.Compose(ctx, w, hashes)
	if err != nil {
		return nil, err
	}
	s.plan, made.Manifest.SourceSigner = made.Plan, s.signer.ID
	raw, err := made.Manifest.Encode()
	if err != nil {
		return nil, fault.Errorf(fault.Refused, "describing the image: %w", err)
	}
	return &filled{tree: made.Tree, manifest: made.Manifest, raw: raw, layers: made.Plan.Layers}, nil
}
