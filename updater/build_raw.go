package updater

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater/compose"
	"github.com/abupdate/abupdate/verity"
)

// writeRaw makes the smallest slot that holds the image, as a file: squashfs,
// hash tree, manifest and footer.
func writeRaw(ctx context.Context, tmp, path string, made *compose.Result, manifestRaw []byte) error {
	name := filepath.Join(tmp, rawFile)
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := f.Truncate(partitions.SlotSize(made.Manifest.ImageBytes)); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	dev, err := blockdev.Open(name, blockdev.ReadWrite)
	if err != nil {
		return err
	}
	defer dev.Close()
	src, err := os.Open(filepath.Join(tmp, squashfsFile))
	if err != nil {
		return err
	}
	defer src.Close()
	w := partitions.NewSlotWriter(dev)
	if err := FillSlot(ctx, w, src, made.Tree, manifestRaw, nil); err != nil {
		return err
	}
	if err := dev.Close(); err != nil {
		return err
	}
	return os.Rename(name, path)
}

// FillSlot copies a whole image into a slot: image, tree, read back, manifest
// and footer. progress, if not nil, is told the bytes copied.
func FillSlot(ctx context.Context, w *partitions.SlotWriter, image io.ReaderAt, tree *verity.Tree, manifestRaw []byte, progress func(done int64)) error {
	if err := w.Begin(); err != nil {
		return err
	}
	size := tree.DataBlocks * verity.BlockSize
	buf := make([]byte, copyChunk)
	for off := int64(verity.BlockSize); off < size; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		p := buf[:min(copyChunk, size-off)]
		if _, err := image.ReadAt(p, off); err != nil {
			return fmt.Errorf("reading the image at byte %d: %w", off, err)
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
		off += int64(len(p))
		if progress != nil {
			progress(off)
		}
	}
	first := buf[:verity.BlockSize]
	if _, err := image.ReadAt(first, 0); err != nil {
		return fmt.Errorf("reading the image at byte 0: %w", err)
	}
	if err := w.WriteFirst(first); err != nil {
		return err
	}
	if err := w.WriteTree(tree); err != nil {
		return err
	}
	if err := w.ReadBack(ctx, tree.RootHash, nil); err != nil {
		return err
	}
	return w.Commit(manifestRaw, nil)
}
