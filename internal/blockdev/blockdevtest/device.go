package blockdevtest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// TestDevice checks that d, of at least 16 KiB, keeps the promises of
// blockdev.Device, by comparing it with a slice of bytes. It overwrites d.
func TestDevice(t *testing.T, d blockdev.Device) {
	t.Helper()
	if d.Size() < 16<<10 {
		t.Fatalf("Size() = %d; the suite needs 16 KiB", d.Size())
	}
	model := make([]byte, d.Size())
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range model {
		model[i] = byte(rnd.Uint32()) // never rely on a medium of zeros
	}
	if n, err := d.WriteAt(model, 0); n != len(model) || err != nil {
		t.Fatalf("WriteAt(everything) = %d, %v; want %d, nil", n, err, len(model))
	}
	t.Run("whole", func(t *testing.T) { same(t, d, model) })
	t.Run("random", func(t *testing.T) { testRandom(t, d, model, rnd) })
	t.Run("ends", func(t *testing.T) { testEnds(t, d, model) })
	t.Run("out of bounds", func(t *testing.T) { testBounds(t, d, model) })
	t.Run("zero", func(t *testing.T) { testZero(t, d, model) })
	t.Run("sync and invalidate", func(t *testing.T) {
		if err := d.Sync(); err != nil {
			t.Errorf("Sync() = %v; want nil", err)
		}
		if err := blockdev.Invalidate(d, 0, d.Size()); err != nil {
			t.Errorf("Invalidate() = %v; want nil", err)
		}
		same(t, d, model)
	})
}

// same compares all of d with the model.
func same(t *testing.T, d blockdev.Device, model []byte) {
	t.Helper()
	got := make([]byte, len(model))
	if n, err := d.ReadAt(got, 0); n != len(got) || err != nil && err != io.EOF {
		t.Fatalf("ReadAt(everything) = %d, %v; want %d, nil or EOF", n, err, len(got))
	}
	for i := range got {
		if got[i] != model[i] {
			t.Fatalf("byte %d is %#02x; want %#02x", i, got[i], model[i])
		}
	}
}

func testRandom(t *testing.T, d blockdev.Device, model []byte, rnd *rand.Rand) {
	size := len(model)
	for range 200 {
		off := rnd.IntN(size)
		p := bytes.Repeat([]byte{byte(rnd.Uint32())}, rnd.IntN(min(size-off, 9000)+1))
		if n, err := d.WriteAt(p, int64(off)); n != len(p) || err != nil {
			t.Fatalf("WriteAt(%d bytes, %d) = %d, %v; want all, nil", len(p), off, n, err)
		}
		copy(model[off:], p)
		off = rnd.IntN(size)
		got := make([]byte, rnd.IntN(size-off))
		if n, err := d.ReadAt(got, int64(off)); n != len(got) || err != nil {
			t.Fatalf("ReadAt(%d bytes, %d) = %d, %v; want all, nil", len(got), off, n, err)
		}
		if !bytes.Equal(got, model[off:off+len(got)]) {
			t.Fatalf("ReadAt(%d bytes, %d) differs from what was written", len(got), off)
		}
	}
	same(t, d, model)
}

// testEnds reads around the end, where io.ReaderAt wants io.EOF.
func testEnds(t *testing.T, d blockdev.Device, model []byte) {
	size := d.Size()
	p := make([]byte, 100)
	if n, err := d.ReadAt(p, size-40); n != 40 || err != io.EOF {
		t.Errorf("ReadAt(100 bytes, 40 before the end) = %d, %v; want 40, EOF", n, err)
	}
	if !bytes.Equal(p[:40], model[size-40:]) {
		t.Error("the last 40 bytes differ from what was written")
	}
	if n, err := d.ReadAt(p, size); n != 0 || err != io.EOF {
		t.Errorf("ReadAt(100 bytes, at the end) = %d, %v; want 0, EOF", n, err)
	}
	if n, err := d.ReadAt(p, size+4096); n != 0 || err != io.EOF {
		t.Errorf("ReadAt(100 bytes, behind the end) = %d, %v; want 0, EOF", n, err)
	}
}

func testBounds(t *testing.T, d blockdev.Device, model []byte) {
	size := d.Size()
	if n, err := d.ReadAt(make([]byte, 10), -1); n != 0 || err == nil || err == io.EOF {
		t.Errorf("ReadAt(10 bytes, -1) = %d, %v; want 0 and an error", n, err)
	}
	for _, tt := range []struct {
		n   int
		off int64
	}{{10, -1}, {10, size - 9}, {1, size}, {1, size + 1}, {1, 1<<63 - 1}, {int(size) + 1, 0}} {
		p := bytes.Repeat([]byte{0x5a}, tt.n)
		if n, err := d.WriteAt(p, tt.off); n != 0 || !errors.Is(err, blockdev.ErrOutOfBounds) {
			t.Errorf("WriteAt(%d bytes, %d) = %d, %v; want 0, ErrOutOfBounds", tt.n, tt.off, n, err)
		}
	}
	if d.Size() != size {
		t.Errorf("Size() = %d; want %d as before", d.Size(), size)
	}
	same(t, d, model)
}

func testZero(t *testing.T, d blockdev.Device, model []byte) {
	for _, r := range [][2]int64{{5000, 3000}, {0, 1}, {d.Size() - 1, 1}, {100, 0}} {
		if err := blockdev.Zero(d, r[0], r[1]); err != nil {
			t.Fatalf("Zero(%d, %d) = %v; want nil", r[0], r[1], err)
		}
		clear(model[r[0] : r[0]+r[1]])
	}
	if err := blockdev.Zero(d, d.Size()-1, 2); !errors.Is(err, blockdev.ErrOutOfBounds) {
		t.Errorf("Zero(past the end) = %v; want ErrOutOfBounds", err)
	}
	model[len(model)-1] = 0
	same(t, d, model)
}
