package updater_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/abupdate/abupdate/updater"
)

// What goes into a store comes out of it, in memory and beyond; a file that it
// needs has no name, and what was never written is not there.
func TestHashStore(t *testing.T) {
	for _, size := range []int{32, 4096, 64 << 10, 4<<20 - 32, 4 << 20, 4<<20 + 4096, 9<<20 + 32} {
		dir := t.TempDir()
		s := updater.NewHashStore(dir)
		want := make([]byte, size)
		r := rand.New(rand.NewPCG(1, uint64(size)))
		for off := 0; off < size; {
			n := min(size-off, 1+r.IntN(200_000))
			for i := range n {
				want[off+i] = byte(r.Uint32())
			}
			if got, err := s.WriteAt(want[off:off+n], int64(off)); got != n || err != nil {
				t.Fatalf("WriteAt(%d, %d) = %d, %v", n, off, got, err)
			}
			off += n
		}
		copy(want, "the first comes last")
		if _, err := s.WriteAt(want[:32], 0); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, size)
		for off := 0; off < size; {
			n := min(size-off, 1+r.IntN(200_000))
			if m, err := s.ReadAt(got[off:off+n], int64(off)); m != n || err != nil {
				t.Fatalf("ReadAt(%d, %d) = %d, %v", n, off, m, err)
			}
			off += n
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes come back different", size)
		}
		if n, err := s.ReadAt(make([]byte, 128<<10), int64(size)); err == nil {
			t.Errorf("ReadAt() behind the end = %d, nil", n)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%d bytes: in the folder there is %v", size, left)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestHashStoreWithoutRoom(t *testing.T) {
	s := updater.NewHashStore("/nonexistent")
	if _, err := s.WriteAt(make([]byte, 4<<20), 0); err != nil {
		t.Errorf("WriteAt() in memory = %v", err)
	}
	if _, err := s.WriteAt(make([]byte, 4096), 4<<20); err == nil {
		t.Errorf("WriteAt() beyond = nil")
	}
}
