package partitions_test

import (
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
)

// A slot whose image was there before its writer is like any other.
func TestAdopt(t *testing.T) {
	im := newImage(t, 300, 1)
	dev := dirty(partitions.SlotSize(int64(len(im.data)))) // not a byte to spare
	if _, err := dev.WriteAt(im.data, 0); err != nil {
		t.Fatal(err)
	}
	w := partitions.NewSlotWriter(dev)
	for _, step := range []func() error{
		func() error { return w.Adopt(int64(len(im.data))) },
		func() error { return w.WriteTree(im.tree) },
		func() error { return w.ReadBack(t.Context(), im.tree.RootHash, nil) },
		func() error { return w.Commit(im.manifest, nil) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	c, err := partitions.ReadSlot(dev)
	if err != nil {
		t.Fatal(err)
	}
	checkContent(t, dev, c, im)
}

func TestAdoptRefuses(t *testing.T) {
	im, other := newImage(t, 300, 1), newImage(t, 300, 2)
	size := int64(len(im.data))
	for _, tt := range []struct {
		name string
		size int64 // of the image
		kind fault.Kind
		says string
	}{
		{"nothing", 0, fault.Other, "not whole blocks"},
		{"half a block", 6144, fault.Other, "not whole blocks"},
		{"more than the slot holds", size + 4096, fault.NoRoom, "holds an image of at most"},
		{"another image than the tree's", size, fault.Verify, "reading the slot back"},
	} {
		dev := dirty(partitions.SlotSize(size))
		if _, err := dev.WriteAt(other.data, 0); err != nil {
			t.Fatal(err)
		}
		w := partitions.NewSlotWriter(dev)
		err := w.Adopt(tt.size)
		if err == nil {
			if err = w.WriteTree(im.tree); err == nil {
				err = w.ReadBack(t.Context(), im.tree.RootHash, nil)
			}
		}
		if fault.KindOf(err) != tt.kind || err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v (kind %d); want kind %d and %q", tt.name, err, fault.KindOf(err), tt.kind, tt.says)
		}
		if err := w.Commit(im.manifest, nil); err == nil {
			t.Errorf("%s: Commit() afterwards = nil", tt.name)
		}
		if _, err := partitions.ReadSlot(dev); err != partitions.ErrEmpty {
			t.Errorf("%s: ReadSlot() = %v; want %v", tt.name, err, partitions.ErrEmpty)
		}
	}
}
