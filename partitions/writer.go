package partitions

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/verity"
)

// writeChunk is how much a SlotWriter collects before it writes.
const writeChunk = 1 << 20

// A SlotWriter fills one slot, in an order that leaves it either without a
// valid footer or complete, wherever the power goes:
//
//	Begin      footer zeroed, synced
//	Write...   the image from its second block on; WriteFirst its first
//	WriteTree  the hash tree
//	ReadBack   synced, read from the medium, compared with the root hash
//	Commit     manifest and signatures, synced; footer, synced; read back
//
// Where the hash tree is known before the image, it goes first, so that a
// write that is interrupted leaves it, and what it finds of the image with it:
//
//	Begin      footer zeroed, synced
//	PlaceTree  the hash tree, synced
//	WriteAt... the image but its first block, in any order; WriteFirst that
//	ReadBack, Commit
//
// The first error ends the writer: every later call returns it. The slot is
// then empty, and a new writer may begin again. It buffers 1 MiB.
type SlotWriter struct {
	dev   blockdev.Device
	stage stage
	err   error
	buf   []byte // not yet written; belongs at off
	off   int64
	dirty int64 // bytes of WriteAt since the medium was last told to begin
	// foot collects what the footer will say.
	foot   Footer
	tree   *verity.Tree
	layers []byte // to keep; see Attach
	footAt int64
}

type stage int

const (
	fresh stage = iota
	image
	placed // like image, with the tree in its place
	imageDone
	treeDone
	verified
	committed
)

var stageCalls = [...]string{fresh: "Begin", image: "WriteFirst", placed: "WriteFirst", imageDone: "WriteTree", treeDone: "ReadBack", verified: "Commit", committed: "nothing"}

// NewSlotWriter returns a writer for the slot on dev. It writes nothing.
func NewSlotWriter(dev blockdev.Device) *SlotWriter {
	return &SlotWriter{dev: dev, footAt: dev.Size() - FooterSize, foot: Footer{SlotBytes: dev.Size()}}
}

// at makes sure that the writer is at stage s and has not failed.
func (w *SlotWriter) at(s stage) error {
	if w.err == nil && w.stage != s {
		w.err = fmt.Errorf("writing a slot: out of order, next is %s", stageCalls[w.stage])
	}
	return w.err
}

// fail records the writer's first error and gives it a kind if it has none.
func (w *SlotWriter) fail(err error) error {
	if err != nil && w.err == nil {
		w.err = err
	}
	return w.err
}

// Begin empties the slot: from its return on, it has no valid footer.
func (w *SlotWriter) Begin() error {
	if err := w.at(fresh); err != nil {
		return err
	}
	if Capacity(w.dev.Size()) == 0 {
		return w.fail(fault.Errorf(fault.NoRoom, "emptying the slot: %d bytes are too few for any image", w.dev.Size()))
	}
	if err := blockdev.Zero(w.dev, w.footAt, FooterSize); err != nil {
		return w.fail(fmt.Errorf("emptying the slot: %w", err))
	}
	if err := w.dev.Sync(); err != nil {
		return w.fail(fmt.Errorf("emptying the slot: syncing: %w", err))
	}
	w.stage, w.off = image, slotAlign
	w.buf = make([]byte, 0, writeChunk)
	return nil
}

// Write takes the image from its second block on, in order.
func (w *SlotWriter) Write(p []byte) (int, error) {
	if err := w.at(image); err != nil {
		return 0, err
	}
	if room := Capacity(w.dev.Size()); w.off+int64(len(w.buf)+len(p)) > room {
		return 0, w.fail(fault.Errorf(fault.NoRoom, "writing the image at byte %d: the slot of %d bytes holds an image of at most %d",
			w.off+int64(len(w.buf)), w.dev.Size(), room))
	}
	return w.append(p)
}

// append collects p and writes full chunks; the caller has checked the room.
func (w *SlotWriter) append(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n := min(len(p)-done, cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, p[done:done+n]...)
		done += n
		if len(w.buf) == cap(w.buf) {
			if err := w.flush(); err != nil {
				return done, err
			}
		}
	}
	return len(p), nil
}

func (w *SlotWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if _, err := w.dev.WriteAt(w.buf, w.off); err != nil {
		return w.fail(fmt.Errorf("writing the slot at byte %d: %w", w.off, err))
	}
	w.off += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// WriteFirst takes the image's first block and ends the image.
func (w *SlotWriter) WriteFirst(block []byte) error {
	if w.stage == placed {
		return w.writeFirstPlaced(block)
	}
	if err := w.at(image); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	if len(block) != slotAlign || w.off%slotAlign != 0 {
		return w.fail(fmt.Errorf("writing the image: first block of %d bytes, image of %d: not whole blocks", len(block), w.off))
	}
	if _, err := w.dev.WriteAt(block, 0); err != nil {
		return w.fail(fmt.Errorf("writing the slot at byte 0: %w", err))
	}
	w.foot.ImageBytes, w.foot.HashOff = w.off, w.off
	w.stage = imageDone
	return nil
}

// Hashes is room in the slot, behind the largest image that it can hold, for
// the hashes of the image's blocks while the tree is made: 32 bytes for each.
// Begin comes first. The tree that is kept there must not be used after
// WriteTree, which may write over it.
func (w *SlotWriter) Hashes() (verity.Store, error) {
	if w.err == nil && w.stage != image {
		return nil, w.at(image)
	}
	room := Capacity(w.dev.Size())
	// The lowest level is the last of the tree: where it would stand behind
	// the largest image, no smaller image and none of its levels reach.
	blocks := room / slotAlign
	low := (blocks*verity.HashSize + slotAlign - 1) / slotAlign * slotAlign
	sec, err := blockdev.NewSection(w.dev, room+verity.TreeBytes(blocks)-low, low)
	if err != nil {
		return nil, w.fail(fmt.Errorf("keeping hashes: %w", err))
	}
	return sec, nil
}

// WriteTree writes the hash tree behind the image.
func (w *SlotWriter) WriteTree(t *verity.Tree) error {
	if err := w.at(imageDone); err != nil {
		return err
	}
	if t.DataBlocks*slotAlign != w.foot.ImageBytes || len(t.RootHash) != len(w.foot.RootHash) {
		return w.fail(fmt.Errorf("writing the hash tree: it is of %d blocks, the image has %d", t.DataBlocks, w.foot.ImageBytes/slotAlign))
	}
	if err := w.writeTree(t); err != nil {
		return err
	}
	w.stage = treeDone
	return nil
}

// writeTree writes the hash tree where w.off is.
func (w *SlotWriter) writeTree(t *verity.Tree) error {
	if _, err := t.WriteTo(treeSink{w}); err != nil {
		return w.fail(fmt.Errorf("writing the hash tree: %w", err))
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.foot.TreeBytes = w.off - w.foot.HashOff
	w.foot.ManifestOff = w.off
	w.tree = t
	copy(w.foot.RootHash[:], t.RootHash)
	return nil
}

// treeSink appends to the writer's buffer; Capacity has left the room.
type treeSink struct{ w *SlotWriter }

func (s treeSink) Write(p []byte) (int, error) {
	if s.w.off+int64(len(s.w.buf)+len(p)) > s.w.footAt {
		return 0, fault.Errorf(fault.NoRoom, "the slot of %d bytes is full", s.w.dev.Size())
	}
	return s.w.append(p)
}

// ReadBack syncs the slot, drops what the page cache holds of it, and reads
// image and tree from the medium. Both must lead to rootHash.
func (w *SlotWriter) ReadBack(ctx context.Context, rootHash []byte, progress func(done int64)) error {
	if err := w.at(treeDone); err != nil {
		return err
	}
	if !bytes.Equal(rootHash, w.foot.RootHash[:]) {
		return w.fail(fault.Errorf(fault.Verify, "reading the slot back: root hash %x, want %x", w.foot.RootHash, rootHash))
	}
	if err := w.settle(0, w.off); err != nil {
		return err
	}
	t, err := readTree(w.dev, w.foot.HashOff, w.foot.TreeBytes, rootHash)
	if err != nil {
		return w.fail(fmt.Errorf("reading the slot back: %w", err))
	}
	sec, err := blockdev.NewSection(w.dev, 0, w.foot.ImageBytes)
	if err != nil {
		return w.fail(err)
	}
	if err := t.VerifyData(ctx, sec, progress); err != nil {
		if errors.Is(err, verity.ErrCorrupt) {
			err = fault.Wrap(fault.Verify, err)
		}
		return w.fail(fmt.Errorf("reading the slot back: %w", err))
	}
	w.stage = verified
	return nil
}

// settle makes [off, end) durable and forgets its cache.
func (w *SlotWriter) settle(off, end int64) error {
	if err := w.dev.Sync(); err != nil {
		return w.fail(fmt.Errorf("syncing the slot: %w", err))
	}
	if err := blockdev.Invalidate(w.dev, off, end-off); err != nil {
		return w.fail(fmt.Errorf("reading the slot back: %w", err))
	}
	return nil
}
