package updater

import (
	"context"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/verity"
)

// copyChunk is how much is copied at a time, in bytes.
const copyChunk = 1 << 20

// FillSlot copies a whole image into a slot: image, tree, read back, manifest
// and footer. progress, if not nil, is told the bytes copied.
func FillSlot(ctx context.Context, w *partitions.SlotWriter, image io.ReaderAt, tree *verity.Tree, manifestRaw, signatures []byte, progress func(done int64)) error {
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
	return w.Commit(manifestRaw, signatures)
}

// verifyBlocks checks the blocks in p, the first of which is number i.
func verifyBlocks(tree *verity.Tree, i int64, p []byte) error {
	for len(p) > 0 {
		if err := tree.VerifyBlock(i, p[:verity.BlockSize]); err != nil {
			return err
		}
		i, p = i+1, p[verity.BlockSize:]
	}
	return nil
}

// noEOF turns the end of a stream into an error of its own.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
