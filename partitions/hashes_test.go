package partitions_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/verity"
)

// An image whose hashes were kept in its own slot, of which there is just
// enough, a little or a lot more.
func TestHashesInTheSlot(t *testing.T) {
	for _, blocks := range []int{1, 2, 129, 2500} {
		im := newImage(t, blocks, 3)
		for _, more := range []int64{0, 4096, 1 << 20, 64 << 20} {
			dev := dirty(partitions.SlotSize(int64(len(im.data))) + more)
			w := partitions.NewSlotWriter(dev)
			if err := w.Begin(); err != nil {
				t.Fatal(err)
			}
			tree := streamed(t, w, im)
			if err := w.WriteTree(tree); err != nil {
				t.Fatalf("%d blocks, %d bytes more: WriteTree() = %v", blocks, more, err)
			}
			if err := w.ReadBack(context.Background(), im.tree.RootHash, nil); err != nil {
				t.Fatalf("%d blocks, %d bytes more: ReadBack() = %v", blocks, more, err)
			}
			if err := w.Commit(im.manifest, nil); err != nil {
				t.Fatal(err)
			}
			c, err := partitions.ReadSlot(dev)
			if err != nil {
				t.Fatal(err)
			}
			checkContent(t, dev, c, im)
		}
	}
}

// streamed writes the image of im and makes its tree meanwhile.
func streamed(t *testing.T, w *partitions.SlotWriter, im img) *verity.Tree {
	t.Helper()
	store, err := w.Hashes()
	if err != nil {
		t.Fatal(err)
	}
	b := verity.NewBuilderIn(verity.DefaultParams(), store)
	for rest := im.data[verity.BlockSize:]; len(rest) > 0; {
		n := min(len(rest), 300_000)
		for _, to := range []interface{ Write([]byte) (int, error) }{w, b} {
			if _, err := to.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
		}
		rest = rest[n:]
	}
	for _, to := range []interface{ WriteFirst([]byte) error }{w, b} {
		if err := to.WriteFirst(im.data[:verity.BlockSize]); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tree.RootHash, im.tree.RootHash) {
		t.Fatalf("root hash %x; want %x", tree.RootHash, im.tree.RootHash)
	}
	return tree
}

func TestHashesOutOfOrder(t *testing.T) {
	w := partitions.NewSlotWriter(blockdev.NewMemory(make([]byte, 8<<20)))
	if _, err := w.Hashes(); err == nil {
		t.Error("Hashes() before Begin() = nil; want an error")
	}
}
