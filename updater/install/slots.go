package install

import (
	"context"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/compose"
)

// An image is one that goes into a slot.
type image struct {
	img  *oci.Image
	plan *oci.Plan
	desc manifest.Manifest
	opt  compose.Options
}

func openImage(ctx context.Context, name string, opt Options) (*image, error) {
	img, plan, err := updater.ReadImage(ctx, name, opt.Source, opt.Progress)
	if err != nil {
		return nil, err
	}
	im := &image{img: img, plan: plan, opt: compose.Options{
		Squashfs: opt.Source.Squashfs, Version: opt.Source.Version, Source: updater.RecordedSource(img.Reference()),
		Progress: func(done, total int64) { opt.Progress.Report(updater.StepWrite, done, total) },
	}}
	if im.desc, err = compose.Describe(ctx, img, plan, im.opt); err != nil {
		img.Close()
		return nil, err
	}
	return im, nil
}

func (im *image) Close() error { return im.img.Close() }

// compose packs an image straight into a slot and reads it back.
func (in *installer) compose(ctx context.Context, im *image, slot bootctl.Slot) (*compose.Result, error) {
	sec, err := in.disk.Slot(slot)
	if err != nil {
		return nil, err
	}
	w := partitions.NewSlotWriter(sec)
	if err := w.Begin(); err != nil {
		return nil, err
	}
	made, err := compose.Compose(ctx, im.plan, w, im.desc, im.opt)
	if err != nil {
		return nil, err
	}
	if err := w.WriteTree(made.Tree); err != nil {
		return nil, err
	}
	size := made.Manifest.ImageBytes
	err = w.ReadBack(ctx, made.Tree.RootHash, func(n int64) { in.opt.Progress.Report(updater.StepReadBack, n, size) })
	if err != nil {
		return nil, err
	}
	raw, err := made.Manifest.Encode()
	if err != nil {
		return nil, err
	}
	return made, w.Commit(raw, nil)
}

// copySlot copies slot A, which was read back, to another slot.
func (in *installer) copySlot(ctx context.Context, to bootctl.Slot) error {
	from, err := in.disk.Slot(bootctl.SlotA)
	if err != nil {
		return err
	}
	content, err := partitions.ReadSlot(from)
	if err != nil {
		return err
	}
	tree, err := content.Tree(from)
	if err != nil {
		return err
	}
	sec, err := in.disk.Slot(to)
	if err != nil {
		return err
	}
	size := content.Footer.ImageBytes
	err = updater.FillSlot(ctx, partitions.NewSlotWriter(sec), from, tree, content.ManifestRaw,
		func(n int64) { in.opt.Progress.Report(updater.StepCopy, n, size) })
	if err != nil {
		return err
	}
	in.result.Slots = append(in.result.Slots, to)
	return nil
}
