package updater

import (
	"context"
	"fmt"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater/compose"
)

// An imageSource is an ordinary image. How large its squashfs will be is not
// known before it is made.
type imageSource struct {
	img      *oci.Image
	opt      compose.Options
	plan     *oci.Plan
	desc     manifest.Manifest
	progress Progress
}

func (s *imageSource) describe(ctx context.Context) (manifest.Manifest, error) {
	index, err := oci.ReadIndex(ctx, s.img)
	if err != nil {
		return manifest.Manifest{}, err
	}
	if s.plan, err = index.Plan(); err != nil {
		return manifest.Manifest{}, err
	}
	s.desc, err = compose.Describe(ctx, s.img, s.plan, s.opt)
	return s.desc, err
}

// A squashfs packs blocks of 256 KiB by themselves, so it gets no smaller than
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
	least := s.img.Size() / leastRatio
	if len(s.img.Layers()) > 1 {
		least /= leastVisible
	}
	if s.plan != nil {
		least = min(least, s.plan.Bytes)
	}
	if least > capacity {
		return fault.Errorf(fault.NoRoom, "image %s cannot fit: its layers have %d bytes compressed, which makes an image of at least %d; slot %v holds %d",
			s.img.Reference(), s.img.Size(), least, slot, capacity)
	}
	return nil
}

func (s *imageSource) fill(ctx context.Context, w target, progress Progress) (*filled, error) {
	opt := s.opt
	opt.Progress = func(done, total int64) { progress.Report(StepWrite, done, total) }
	result, err := compose.Compose(ctx, s.plan, w, s.desc, opt)
	if err != nil {
		return nil, err
	}
	if err := w.WriteTree(result.Tree); err != nil {
		return nil, err
	}
	raw, err := result.Manifest.Encode()
	if err != nil {
		return nil, fmt.Errorf("describing the image: %w", err)
	}
	return &filled{tree: result.Tree, manifest: result.Manifest, raw: raw}, nil
}
