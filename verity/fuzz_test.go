package verity_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/abupdate/abupdate/verity"
)

// countingReader fails the test when more is read than the tree may have:
// what is read is held in memory.
type countingReader struct {
	*bytes.Reader
	read int
}

func (r *countingReader) ReadAt(p []byte, off int64) (int, error) {
	r.read += len(p)
	return r.Reader.ReadAt(p, off)
}

// FuzzSuperblock reads trees whose superblock is hostile: what is accepted is
// written the same again, and no more memory is used than was allowed.
func FuzzSuperblock(f *testing.F) {
	tree := mustBuild(f, make([]byte, 129*verity.BlockSize), verity.Params{Salt: []byte{1}})
	var buf bytes.Buffer
	if _, err := tree.WriteTo(&buf); err != nil {
		f.Fatal(err)
	}
	const used = 344 // bytes of a superblock that are not padding
	f.Add(buf.Bytes()[:used], uint32(buf.Len()))
	f.Add(buf.Bytes()[:used], uint32(1<<31))
	huge := bytes.Clone(buf.Bytes()[:used])
	huge[78] = 1 // 2^48 data blocks
	f.Add(huge, uint32(1<<31))
	f.Fuzz(func(t *testing.T, sb []byte, size uint32) {
		b := bytes.Clone(buf.Bytes())
		clear(b[:512])
		copy(b[:512], sb)
		limit := min(int64(size), 1<<20)
		r := &countingReader{Reader: bytes.NewReader(b)}
		got, err := verity.ReadTree(r, limit, tree.RootHash)
		if int64(r.read) > limit {
			t.Fatalf("reads %d bytes; the tree may have %d", r.read, limit)
		}
		if err != nil {
			if got != nil || !errors.Is(err, verity.ErrCorrupt) {
				t.Fatalf("ReadTree() = tree %v, %v; want none, ErrCorrupt", got != nil, err)
			}
			return
		}
		// A tree of one block is accepted with any salt, but only as itself.
		if again := encode(t, got); !bytes.Equal(again, b[:len(again)]) {
			t.Fatalf("tree that was accepted writes other bytes from byte %d on", firstDifference(again, b))
		}
	})
}

// FuzzReadTree changes single bytes of a right tree and cuts it short: it is
// accepted only if nothing that matters was changed.
func FuzzReadTree(f *testing.F) {
	f.Add(uint8(0), []byte{16, 0, 1}, uint16(0)) // in the UUID
	f.Add(uint8(1), []byte{0, 16, 1}, uint16(0))
	f.Add(uint8(128), []byte{72, 0, 1, 33, 32, 255}, uint16(1))
	f.Add(uint8(32), []byte{72, 0, 32}, uint16(4)) // 33 blocks become 1: its hash block is taken for data
	trees := make(map[int]*verity.Tree)
	for n := 1; n <= 256; n++ {
		trees[n] = mustBuild(f, make([]byte, n*verity.BlockSize), verity.Params{Salt: []byte{1}})
	}
	f.Fuzz(func(t *testing.T, n uint8, edits []byte, cut uint16) {
		tree := trees[int(n)+1]
		want := encode(t, tree)
		b := bytes.Clone(want)
		for ; len(edits) >= 3; edits = edits[3:] {
			off := int(edits[0]) | int(edits[1])<<8
			b[off%len(b)] ^= edits[2]
		}
		b = b[:len(b)-min(int(cut), len(b))]
		got, err := verity.ReadTree(bytes.NewReader(b), int64(len(b)), tree.RootHash)
		if err != nil {
			if !errors.Is(err, verity.ErrCorrupt) {
				t.Fatalf("ReadTree() = %v; want ErrCorrupt", err)
			}
			return
		}
		if got.DataBlocks != tree.DataBlocks { // see ReadTree on this
			data := make([]byte, got.DataBlocks*verity.BlockSize)
			if err := got.VerifyData(t.Context(), bytes.NewReader(data), nil); !errors.Is(err, verity.ErrCorrupt) {
				t.Fatalf("tree of %d blocks, read as one of %d, fits to the data", tree.DataBlocks, got.DataBlocks)
			}
			return
		}
		copy(want[16:32], b[16:32]) // the UUID is free
		if tree.DataBlocks == 1 {
			copy(want[80:344], b[80:344]) // nothing in the tree was hashed with the salt
		}
		if !bytes.Equal(b, want) {
			t.Fatalf("tree that differs at byte %d was accepted", firstDifference(b, want))
		}
	})
}

// FuzzBuild compares building in two orders with reading back.
func FuzzBuild(f *testing.F) {
	f.Add([]byte("some data"), []byte("salt"), uint8(3))
	f.Fuzz(func(t *testing.T, seed, salt []byte, n uint8) {
		if len(salt) > verity.MaxSaltSize {
			salt = salt[:verity.MaxSaltSize]
		}
		data := make([]byte, (int(n)+1)*verity.BlockSize)
		for i := range min(len(seed), len(data)) {
			data[i*37%len(data)] = seed[i]
		}
		tree := mustBuild(t, data, verity.Params{Salt: salt})
		b := encode(t, tree)
		got, err := verity.ReadTree(bytes.NewReader(b), int64(len(b)), tree.RootHash)
		if err != nil {
			t.Fatalf("ReadTree(what was built) = %v", err)
		}
		if err := got.VerifyData(t.Context(), bytes.NewReader(data), nil); err != nil {
			t.Fatalf("VerifyData(what was built) = %v", err)
		}
	})
}
