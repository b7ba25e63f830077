package partitions_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/verity"
)

// An order is a way to write a whole slot.
type order func(dev blockdev.Device, im img, sigs []byte, after func(step string)) error

var orders = map[string]order{"the tree last": write, "the tree first": writePlaced}

// writePlaced puts an image into a slot whose tree is known before, its blocks
// from the last one down.
func writePlaced(dev blockdev.Device, im img, sigs []byte, after func(step string)) error {
	w := partitions.NewSlotWriter(dev)
	for _, s := range []struct {
		name string
		do   func() error
	}{
		{"begin", w.Begin},
		{"tree", func() error { return w.PlaceTree(im.tree) }},
		{"write", func() error { return writeDown(w, im.data) }},
		{"write first", func() error { return w.WriteFirst(im.data[:4096]) }},
		{"read back", func() error { return w.ReadBack(context.Background(), im.tree.RootHash, nil) }},
		{"commit", func() error { return w.Commit(im.manifest, sigs) }},
	} {
		if err := s.do(); err != nil {
			return err
		}
		if after != nil {
			after(s.name)
		}
	}
	return nil
}

// writeDown writes all blocks but the first, and syncs after half of them.
func writeDown(w *partitions.SlotWriter, data []byte) error {
	const chunk = 37 * 4096
	for end := len(data); end > 4096; end -= chunk {
		first := max(end-chunk, 4096)
		if _, err := w.WriteAt(data[first:end], int64(first)); err != nil {
			return err
		}
		if mid := len(data) / 2; first < mid && mid <= end {
			if err := w.Sync(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Wherever the power goes after the tree is placed, it is found again, and all
// blocks that were synced before.
func TestPlacedTreeSurvivesEveryCut(t *testing.T) {
	old, im := newImage(t, 300, 1), newImage(t, 200, 2)
	base := dirty(partitions.SlotSize(int64(len(old.data))))
	if err := write(base, old, nil, nil); err != nil {
		t.Fatal(err)
	}
	rec := blockdevtest.NewRecorder(base)
	if err := writePlaced(rec, im, nil, rec.Mark); err != nil {
		t.Fatal(err)
	}
	found := 0
	for dev, cut := range rec.Crashes() {
		sec, err := blockdev.NewSection(dev, int64(len(im.data)), im.tree.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		_, err = verity.ReadTree(sec, im.tree.Bytes(), im.tree.RootHash)
		if err == nil {
			found++
		}
		if cut.Reached("tree") && err != nil {
			t.Fatalf("cut %v: the tree in the slot: %v", cut, err)
		}
	}
	if found == 0 {
		t.Error("no cut leaves the tree")
	}
}

func TestPlaceTreeRefuses(t *testing.T) {
	im, large := newImage(t, 300, 1), newImage(t, 301, 1)
	size := partitions.SlotSize(int64(len(im.data)))
	for _, tt := range []struct {
		name string
		do   func(w *partitions.SlotWriter) error
		kind fault.Kind
		want string
	}{
		{"a tree of an image that does not fit", func(w *partitions.SlotWriter) error { return w.PlaceTree(large.tree) }, fault.NoRoom, "holds one of at most"},
		{"a tree after blocks", func(w *partitions.SlotWriter) error {
			return errors.Join(w.WriteFirst(im.data[:4096]), w.PlaceTree(im.tree))
		}, fault.Other, "next is WriteTree"},
		{"blocks before a tree", func(w *partitions.SlotWriter) error { _, err := w.WriteAt(im.data[4096:8192], 4096); return err }, fault.Other, "out of order"},
		{"a stream after a tree", func(w *partitions.SlotWriter) error {
			return placed(w, im, func() error { _, err := w.Write(im.data[4096:8192]); return err })
		}, fault.Other, "out of order"},
		{"the first block too early", func(w *partitions.SlotWriter) error {
			return placed(w, im, func() error { _, err := w.WriteAt(im.data[:8192], 0); return err })
		}, fault.Other, "behind the first"},
		{"half a block", func(w *partitions.SlotWriter) error {
			return placed(w, im, func() error { _, err := w.WriteAt(im.data[4096:6000], 4096); return err })
		}, fault.Other, "not whole blocks"},
		{"a block where the tree is", func(w *partitions.SlotWriter) error {
			return placed(w, im, func() error { _, err := w.WriteAt(im.data[:4096], int64(len(im.data))); return err })
		}, fault.Other, "not whole blocks of it"},
		{"half a first block", func(w *partitions.SlotWriter) error {
			return placed(w, im, func() error { return w.WriteFirst(im.data[:100]) })
		}, fault.Other, "first block of 100 bytes"},
		{"blocks that are missing", func(w *partitions.SlotWriter) error {
			return placed(w, im, func() error { return w.WriteFirst(im.data[:4096]) },
				func() error { return w.ReadBack(t.Context(), im.tree.RootHash, nil) })
		}, fault.Verify, "data block 1 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dev := dirty(size)
			w := partitions.NewSlotWriter(dev)
			if err := w.Begin(); err != nil {
				t.Fatal(err)
			}
			err := tt.do(w)
			if got := fault.KindOf(err); got != tt.kind || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("got %v (kind %d); want %q (kind %d)", err, got, tt.want, tt.kind)
			}
			if again := w.Commit(im.manifest, nil); again == nil {
				t.Error("Commit() after a failure = nil error")
			}
			if _, err := partitions.ReadSlot(dev); err != partitions.ErrEmpty {
				t.Errorf("ReadSlot() = %v; want %v", err, partitions.ErrEmpty)
			}
		})
	}
}

// placed places the tree of im, and then does one thing after another.
func placed(w *partitions.SlotWriter, im img, then ...func() error) error {
	err := w.PlaceTree(im.tree)
	for _, do := range then {
		if err == nil {
			err = do()
		}
	}
	return err
}
