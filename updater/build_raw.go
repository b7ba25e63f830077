package updater

import (
	"context"
	"os"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater/compose"
)

// finishSlot makes the file that begins with an image the smallest slot that
// holds it: hash tree, manifest, signatures and footer follow.
func finishSlot(ctx context.Context, name string, made *compose.Result, manifestRaw, signatures []byte, progress Progress) error {
	size := made.Manifest.ImageBytes
	layers := made.Plan.Layers
	if err := os.Truncate(name, partitions.SlotSize(size)+partitions.LayersSize(len(layers))); err != nil {
		return err
	}
	dev, err := blockdev.Open(name, blockdev.ReadWrite)
	if err != nil {
		return err
	}
	defer dev.Close()
	w := partitions.NewSlotWriter(dev)
	if err := w.Adopt(size); err != nil {
		return err
	}
	if err := w.WriteTree(made.Tree); err != nil {
		return err
	}
	err = w.ReadBack(ctx, made.Tree.RootHash, func(n int64) { progress.Report(StepReadBack, n, size) })
	if err != nil {
		return err
	}
	w.Attach(layers)
	if err := w.Commit(manifestRaw, signatures); err != nil {
		return err
	}
	return dev.Close()
}
