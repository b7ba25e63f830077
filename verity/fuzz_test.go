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

// FuzzReadTree reads hostile trees. One that is accepted must be the one
// that it writes again, and its size stays within what was given.
func FuzzReadTree(f *testing.F) {
	for _, n := range []int{1, 2, 129} {
		tree := mustBuild(f, make([]byte, n*verity.BlockSize), verity.Params{Salt: []byte{1}})
		var buf bytes.Buffer
		if _, err := tree.WriteTo(&buf); err != nil {
			f.Fatal(err)
		}
		f.Add(buf.Bytes(), tree.RootHash, uint32(buf.Len()))
		f.Add(buf.Bytes(), tree.RootHash, uint32(1<<31))
		huge := bytes.Clone(buf.Bytes())
		huge[78] = 1 // 2^48 data blocks
		f.Add(huge, tree.RootHash, uint32(1<<31))
	}
	f.Fuzz(func(t *testing.T, b, root []byte, size uint32) {
		limit := min(int64(size), 1<<20)
		r := &countingReader{Reader: bytes.NewReader(b)}
		tree, err := verity.ReadTree(r, limit, root)
		if int64(r.read) > limit {
			t.Fatalf("reads %d bytes; the tree may have %d", r.read, limit)
		}
		if err != nil {
			if tree != nil || !errors.Is(err, verity.ErrCorrupt) {
				t.Fatalf("ReadTree() = tree %v, %v; want none, ErrCorrupt", tree != nil, err)
			}
			return
		}
		var buf bytes.Buffer
		if _, err := tree.WriteTo(&buf); err != nil {
			t.Fatal(err)
		}
		if n := min(buf.Len(), len(b)); buf.Len() > len(b) || !bytes.Equal(buf.Bytes(), b[:n]) {
			t.Fatalf("tree that was accepted writes other bytes from byte %d on", firstDifference(buf.Bytes(), b))
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
