package partitions

import (
	"fmt"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/verity"
)

// PlaceTree takes the place of WriteTree for an image whose tree is known
// before its blocks: it writes the tree where it belongs, and syncs.
func (w *SlotWriter) PlaceTree(t *verity.Tree) error {
	if err := w.at(image); err != nil {
		return err
	}
	size := t.DataBlocks * slotAlign
	if room := Capacity(w.dev.Size()); size > room {
		return w.fail(fault.Errorf(fault.NoRoom, "writing the hash tree: it is of an image of %d bytes; the slot of %d bytes holds one of at most %d",
			size, w.dev.Size(), room))
	}
	if len(t.RootHash) != len(w.foot.RootHash) {
		return w.fail(fmt.Errorf("writing the hash tree: root hash of %d bytes", len(t.RootHash)))
	}
	w.off, w.foot.ImageBytes, w.foot.HashOff = size, size, size
	if err := w.writeTree(t); err != nil {
		return err
	}
	if err := w.dev.Sync(); err != nil {
		return w.fail(fmt.Errorf("syncing the hash tree: %w", err))
	}
	w.stage = placed
	return nil
}

// WriteAt writes blocks of the image, but not the first, after PlaceTree.
func (w *SlotWriter) WriteAt(p []byte, off int64) (int, error) {
	if err := w.at(placed); err != nil {
		return 0, err
	}
	if off < slotAlign || off%slotAlign != 0 || len(p)%slotAlign != 0 || off+int64(len(p)) > w.foot.ImageBytes {
		return 0, w.fail(fmt.Errorf("writing the image: bytes %d to %d are not whole blocks of it behind the first", off, off+int64(len(p))))
	}
	n, err := w.dev.WriteAt(p, off)
	if err != nil {
		return n, w.fail(fmt.Errorf("writing the slot at byte %d: %w", off, err))
	}
	return n, w.start(int64(n))
}

// startBytes is how much is written before the medium gets it.
const startBytes = 8 << 20

// start counts what was written, and lets the medium begin from time to time:
// then little is left to be synced.
func (w *SlotWriter) start(n int64) error {
	if w.dirty += n; w.dirty < startBytes {
		return nil
	}
	w.dirty = 0
	if err := blockdev.StartSync(w.dev, 0, w.foot.ImageBytes); err != nil {
		return w.fail(fmt.Errorf("writing the slot: %w", err))
	}
	return nil
}

// writeFirstPlaced is WriteFirst after PlaceTree.
func (w *SlotWriter) writeFirstPlaced(block []byte) error {
	if err := w.at(placed); err != nil {
		return err
	}
	if len(block) != slotAlign {
		return w.fail(fmt.Errorf("writing the image: first block of %d bytes", len(block)))
	}
	if _, err := w.dev.WriteAt(block, 0); err != nil {
		return w.fail(fmt.Errorf("writing the slot at byte 0: %w", err))
	}
	w.stage = treeDone
	return nil
}

// Err returns the error that ended the writer, if one has.
func (w *SlotWriter) Err() error { return w.err }

// Sync makes durable what was written since PlaceTree.
func (w *SlotWriter) Sync() error {
	if err := w.at(placed); err != nil {
		return err
	}
	if err := w.dev.Sync(); err != nil {
		return w.fail(fmt.Errorf("syncing the slot: %w", err))
	}
	return nil
}
