package verity_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/abupdate/abupdate/verity"
)

var errStore = errors.New("the store failed")

// store is a verity.Store that can fail.
type store struct {
	b                   []byte
	failWrite, failRead bool
}

func (s *store) WriteAt(p []byte, off int64) (int, error) {
	if s.failWrite {
		return 0, errStore
	}
	if grow := int(off) + len(p) - len(s.b); grow > 0 {
		s.b = append(s.b, make([]byte, grow)...)
	}
	return copy(s.b[off:], p), nil
}

func (s *store) ReadAt(p []byte, off int64) (int, error) {
	if s.failRead {
		return 0, errStore
	}
	n := copy(p, s.b[min(off, int64(len(s.b))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// buildIn makes the tree of data with its hashes in st.
func buildIn(t *testing.T, st verity.Store, data []byte) (*verity.Tree, error) {
	t.Helper()
	b := verity.NewBuilderIn(verity.DefaultParams(), st)
	if _, err := b.Write(data[verity.BlockSize:]); err != nil {
		return nil, err
	}
	if err := b.WriteFirst(data[:verity.BlockSize]); err != nil {
		return nil, err
	}
	return b.Finish()
}

// Where the hashes are kept makes no difference: around one block, one block
// of hashes, one chunk of the store (2048 hashes) and more.
func TestBuilderIn(t *testing.T) {
	for _, blocks := range []int{1, 2, 127, 128, 129, 2047, 2048, 2049, 4095, 4097, 9000} {
		data := randomBlocks(blocks, uint64(blocks))
		want := mustBuild(t, data, verity.DefaultParams())
		got, err := buildIn(t, new(store), data)
		if err != nil {
			t.Fatalf("%d blocks: %v", blocks, err)
		}
		if got.DataBlocks != int64(blocks) || !bytes.Equal(got.RootHash, want.RootHash) {
			t.Errorf("%d blocks: %d blocks, root hash %x; want %x", blocks, got.DataBlocks, got.RootHash, want.RootHash)
		}
		if g, w := encode(t, got), encode(t, want); !bytes.Equal(g, w) {
			t.Errorf("%d blocks: trees differ at byte %d", blocks, firstDifference(g, w))
		}
		if err := got.VerifyData(t.Context(), bytes.NewReader(data), nil); err != nil {
			t.Errorf("%d blocks: VerifyData() = %v", blocks, err)
		}
	}
}

// What a store gives back is not trusted.
func TestStoreIsChecked(t *testing.T) {
	data := randomBlocks(5000, 9)
	for _, at := range []int{0, 31, 4096, 70_000, 5000*32 - 1} {
		st := new(store)
		tree, err := buildIn(t, st, data)
		if err != nil {
			t.Fatal(err)
		}
		st.b[at] ^= 4
		if _, err := tree.WriteTo(io.Discard); !errors.Is(err, verity.ErrCorrupt) {
			t.Errorf("byte %d changed: WriteTo() = %v; want %v", at, err, verity.ErrCorrupt)
		}
		i := int64(at / 32)
		if err := tree.VerifyBlock(i, data[i*verity.BlockSize:][:verity.BlockSize]); !errors.Is(err, verity.ErrCorrupt) {
			t.Errorf("byte %d changed: VerifyBlock(%d) = %v; want %v", at, i, err, verity.ErrCorrupt)
		}
		st.b[at] ^= 4
		if err := tree.VerifyData(t.Context(), bytes.NewReader(data), nil); err != nil {
			t.Errorf("byte %d changed back: VerifyData() = %v", at, err)
		}
	}
}

func TestStoreFails(t *testing.T) {
	data := randomBlocks(5000, 9)
	if _, err := buildIn(t, &store{failWrite: true}, data); !errors.Is(err, errStore) {
		t.Errorf("building with a store that does not write = %v; want %v", err, errStore)
	}
	st := new(store)
	tree, err := buildIn(t, st, data)
	if err != nil {
		t.Fatal(err)
	}
	st.failRead = true
	if _, err := tree.WriteTo(io.Discard); !errors.Is(err, errStore) || errors.Is(err, verity.ErrCorrupt) {
		t.Errorf("WriteTo() = %v; want %v, which is no corruption", err, errStore)
	}
	if err := tree.Hashes(make([]byte, 32), 4000); !errors.Is(err, errStore) {
		t.Errorf("Hashes() = %v; want %v", err, errStore)
	}
}

func TestHashesOutside(t *testing.T) {
	tree := mustBuild(t, randomBlocks(3, 1), verity.DefaultParams())
	for _, tt := range []struct{ first, n int64 }{{-1, 1}, {3, 1}, {2, 2}, {0, 4}} {
		if err := tree.Hashes(make([]byte, tt.n*32), tt.first); !errors.Is(err, verity.ErrCorrupt) {
			t.Errorf("Hashes(%d from %d) = %v; want %v", tt.n, tt.first, err, verity.ErrCorrupt)
		}
	}
}

// A tree that was read follows its reader, and notices when that changes.
func TestReadTreeReadsAgain(t *testing.T) {
	data := randomBlocks(5000, 3)
	tree := mustBuild(t, data, verity.DefaultParams())
	raw := encode(t, tree)
	got, err := verity.ReadTree(bytes.NewReader(raw), int64(len(raw)), tree.RootHash)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-4096] ^= 1
	if err := got.VerifyData(t.Context(), bytes.NewReader(data), nil); !errors.Is(err, verity.ErrCorrupt) {
		t.Errorf("VerifyData() with a tree that changed = %v; want %v", err, verity.ErrCorrupt)
	}
}
