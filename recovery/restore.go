package recovery

import (
	"context"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/verity"
)

// copyChunk is how much of the golden image is read at once; a multiple of
// verity.BlockSize.
const copyChunk = 1 << 20

// Golden reads what the recovery slot says of itself.
func Golden(disk *partitions.Disk) (*partitions.SlotContent, error) {
	dev, err := disk.Slot(bootctl.SlotRecovery)
	if err != nil {
		return nil, err
	}
	return partitions.ReadSlot(dev)
}

// Restore copies the golden image of the recovery slot into slot A, whatever
// that holds, and makes A good. progress gets the bytes that were copied and
// that were read back.
//
//	golden checked -> save A writing -> footer zeroed -> every block checked
//	against the golden tree before it is written -> tree -> read back ->
//	manifest, footer -> save A good
//
// Cut anywhere, A is either still what it was, or writing and never booted, or
// good and whole.
func Restore(store Saver, disk *partitions.Disk, s bootctl.State, progress func(done, total int64)) (bootctl.State, error) {
	src, err := disk.Slot(bootctl.SlotRecovery)
	if err != nil {
		return s, fmt.Errorf("restoring the golden image: %w", err)
	}
	dst, err := disk.Slot(bootctl.SlotA)
	if err != nil {
		return s, fmt.Errorf("restoring the golden image: %w", err)
	}
	content, tree, err := openGolden(src, dst.Size())
	if err != nil {
		return s, fmt.Errorf("restoring the golden image: %w", err)
	}
	s = s.BeginRestore(bootctl.SlotA)
	if err := store.Save(s); err != nil {
		return s, fmt.Errorf("restoring the golden image: %w", err)
	}
	if err := copySlot(dst, src, content, tree, progress); err != nil {
		s = s.AbortWrite(bootctl.SlotA, err.Error())
		if saveErr := store.Save(s); saveErr != nil {
			err = fmt.Errorf("%w; and %w", err, saveErr)
		}
		return s, fmt.Errorf("restoring the golden image: %w", err)
	}
	s = s.Install(bootctl.SlotA, Info(content))
	if err := store.Save(s); err != nil {
		return s, fmt.Errorf("restoring the golden image: %w", err)
	}
	return s, nil
}

// Info is what the boot state keeps of a slot's content.
func Info(c *partitions.SlotContent) bootctl.SlotInfo {
	m := c.Manifest
	return bootctl.SlotInfo{Version: m.Version, Digest: m.SourceDigest, RootHash: m.RootHash, Image: m.SourceImage}
}

// openGolden checks everything that can be checked before slot A is touched.
func openGolden(src blockdev.Device, room int64) (*partitions.SlotContent, *verity.Tree, error) {
	c, err := partitions.ReadSlot(src)
	if err != nil {
		return nil, nil, err
	}
	if n := partitions.Capacity(room); c.Manifest.ImageBytes > n {
		return nil, nil, fault.Errorf(fault.NoRoom, "it has %d bytes, slot a holds at most %d", c.Manifest.ImageBytes, n)
	}
	tree, err := c.Tree(src)
	if err != nil {
		return nil, nil, err
	}
	return c, tree, nil
}

func copySlot(dst, src blockdev.Device, c *partitions.SlotContent, tree *verity.Tree, progress func(done, total int64)) error {
	total := 2 * c.Manifest.ImageBytes
	w := partitions.NewSlotWriter(dst)
	if err := w.Begin(); err != nil {
		return err
	}
	first, err := copyImage(w, src, tree, func(done int64) { progress(done, total) })
	if err != nil {
		return err
	}
	if err := w.WriteFirst(first); err != nil {
		return err
	}
	if err := w.WriteTree(tree); err != nil {
		return err
	}
	err = w.ReadBack(context.Background(), tree.RootHash, func(done int64) { progress(total/2+done, total) })
	if err != nil {
		return err
	}
	if layers, err := c.Layers(src); err == nil { // the system works without
		w.Attach(layers)
	}
	return w.Commit(c.ManifestRaw, c.Signatures)
}

// copyImage copies all blocks but the first, which it returns.
func copyImage(w io.Writer, src blockdev.Device, tree *verity.Tree, progress func(done int64)) (first []byte, err error) {
	buf := make([]byte, copyChunk)
	size := tree.DataBlocks * verity.BlockSize
	for off := int64(0); off < size; {
		p := buf[:min(copyChunk, size-off)]
		if n, err := src.ReadAt(p, off); n < len(p) {
			return nil, fmt.Errorf("reading the recovery slot at byte %d: %w", off, err)
		}
		for i := 0; i < len(p); i += verity.BlockSize {
			if err := tree.VerifyBlock((off+int64(i))/verity.BlockSize, p[i:i+verity.BlockSize]); err != nil {
				return nil, fault.Errorf(fault.Verify, "reading the recovery slot: %w", err)
			}
		}
		off += int64(len(p))
		if first == nil {
			first = append([]byte(nil), p[:verity.BlockSize]...)
			p = p[verity.BlockSize:]
		}
		if _, err := w.Write(p); err != nil {
			return nil, err
		}
		progress(off)
	}
	return first, nil
}

// Retry gives a slot its tries back and prefers it, whatever became of it
// before. Refused for a slot that holds no system.
func Retry(s bootctl.State, slot bootctl.Slot) (bootctl.State, error) {
	if !slot.IsRoot() {
		return s, fault.Errorf(fault.Usage, "slot %v cannot be retried", slot)
	}
	if err := s.CheckBootable(slot); err != nil {
		return s, err
	}
	return s.Stage(slot, s.Slot(slot).Info()), nil
}
