package install

import (
	"context"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/compose"
)

// streamTo packs the image to where slot A will begin on a disk of size bytes,
// or of any size if that is 0. Then it decides on the layout: by now it is known
// what the image could need.
func (in *installer) streamTo(ctx context.Context, w io.WriterAt, size int64, hashes *updater.HashStore) error {
	sink := compose.Sink(&region{w: w, off: in.layout.SlotA(), limit: size})
	made, err := in.source.Compose(ctx, sink, hashes)
	if err != nil {
		return slotError(bootctl.SlotA, err)
	}
	in.made = made
	return in.layout.size(made.Plan, disk.Size(size))
}

// A region is a disk from off on.
type region struct {
	w          io.WriterAt
	off, limit int64
}

// WriteAt implements io.WriterAt.
func (r *region) WriteAt(p []byte, off int64) (int, error) {
	if end := r.off + off + int64(len(p)); r.limit != 0 && end > r.limit {
		return 0, fault.Errorf(fault.NoRoom, "writing at byte %d: the disk ends at byte %d", r.off+off, r.limit)
	}
	return r.w.WriteAt(p, r.off+off)
}

// slotA fills the slot, or makes the slot around what was streamed to it.
func (in *installer) slotA(ctx context.Context) error {
	if in.update != nil {
		return in.slotFromUpdate(ctx)
	}
	w, err := in.slotWriter(bootctl.SlotA)
	if err != nil {
		return err
	}
	if in.made != nil {
		err = w.Adopt(in.made.Manifest.ImageBytes)
	} else {
		in.made, err = in.compose(ctx, in.source, w)
	}
	if err != nil {
		return slotError(bootctl.SlotA, err)
	}
	return slotError(bootctl.SlotA, in.finish(ctx, w, in.made))
}

// compose packs an image straight into a slot.
func (in *installer) compose(ctx context.Context, im *updater.Image, w *partitions.SlotWriter) (*compose.Result, error) {
	if err := w.Begin(); err != nil {
		return nil, err
	}
	hashes, err := w.Hashes()
	if err != nil {
		return nil, err
	}
	return im.Compose(ctx, w, hashes)
}

// finish completes a slot that holds an image, and reads it back.
func (in *installer) finish(ctx context.Context, w *partitions.SlotWriter, made *compose.Result) error {
	if err := w.WriteTree(made.Tree); err != nil {
		return err
	}
	size := made.Manifest.ImageBytes
	err := w.ReadBack(ctx, made.Tree.RootHash, func(n int64) { in.opt.Progress.Report(updater.StepReadBack, n, size) })
	if err != nil {
		return err
	}
	raw, err := made.Manifest.Encode()
	if err != nil {
		return err
	}
	sealed, err := updater.Seal(raw, in.opt.SignKeys)
	if err != nil {
		return err
	}
	w.Attach(made.Plan.Layers)
	return w.Commit(raw, sealed)
}

// golden fills the recovery slot with an image of its own, or an update.
func (in *installer) golden(ctx context.Context) error {
	im, update, err := updater.OpenAny(ctx, in.opt.Recovery, in.opt.Source, in.opt.Progress)
	if err != nil {
		return fmt.Errorf("reading the recovery image: %w", err)
	}
	if update != nil {
		defer update.Close()
		return in.goldenUpdate(ctx, update)
	}
	defer im.Close()
	if err := in.tools.trust.check(in.opt.Boot, in.opt.SignKeys); err != nil {
		return fmt.Errorf("the recovery image: %w", err)
	}
	w, err := in.slotWriter(bootctl.SlotRecovery)
	if err != nil {
		return err
	}
	made, err := in.compose(ctx, im, w)
	if err != nil {
		return slotError(bootctl.SlotRecovery, err)
	}
	if err := in.startable(&made.Manifest); err != nil {
		return err
	}
	if err := in.finish(ctx, w, made); err != nil {
		return slotError(bootctl.SlotRecovery, err)
	}
	in.result.Slots = append(in.result.Slots, bootctl.SlotRecovery)
	return nil
}

func (in *installer) goldenUpdate(ctx context.Context, update *updater.Update) error {
	if err := in.startable(&update.Manifest); err != nil {
		return err
	}
	p, err := in.prepare(ctx, update)
	if err != nil {
		return fmt.Errorf("the recovery image: %w", err)
	}
	w, err := in.slotWriter(bootctl.SlotRecovery)
	if err != nil {
		return err
	}
	if err := in.fillFrom(ctx, p, w); err != nil {
		return slotError(bootctl.SlotRecovery, err)
	}
	in.result.Slots = append(in.result.Slots, bootctl.SlotRecovery)
	return nil
}

// startable refuses a recovery image that the selector does not start.
func (in *installer) startable(is *manifest.Manifest) error {
	want := &in.made.Manifest
	if is.Architecture != want.Architecture || is.Kernel != want.Kernel {
		return fault.Errorf(fault.Refused, "the recovery image has kernel %s for %s; the image has %s for %s",
			is.Kernel, is.Architecture, want.Kernel, want.Architecture)
	}
	return nil
}

func (in *installer) slotWriter(slot bootctl.Slot) (*partitions.SlotWriter, error) {
	sec, err := in.disk.Slot(slot)
	if err != nil {
		return nil, err
	}
	return partitions.NewSlotWriter(sec), nil
}

func slotError(slot bootctl.Slot, err error) error {
	if err != nil {
		err = fmt.Errorf("writing slot %v: %w", slot, err)
	}
	return err
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
	w, err := in.slotWriter(to)
	if err != nil {
		return err
	}
	layers, err := content.Layers(from)
	if err != nil {
		return err
	}
	w.Attach(layers)
	size := content.Footer.ImageBytes
	err = updater.FillSlot(ctx, w, from, tree, content.ManifestRaw, content.Signatures,
		func(n int64) { in.opt.Progress.Report(updater.StepCopy, n, size) })
	if err != nil {
		return err
	}
	in.result.Slots = append(in.result.Slots, to)
	return nil
}
