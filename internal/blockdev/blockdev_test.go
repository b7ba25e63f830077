package blockdev_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

const size = 40_000 // no multiple of a page

func newFile(t *testing.T, mode blockdev.Mode) *blockdev.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := blockdev.Open(path, mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestDevices(t *testing.T) {
	memory := blockdev.NewMemory(make([]byte, size))
	around := blockdev.NewMemory(make([]byte, 3*size))
	section, err := blockdev.NewSection(around, size, size)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := blockdev.NewSection(memory, 0, size)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		dev  blockdev.Device
	}{
		{"memory", memory},
		{"section in the middle", section},
		{"section of everything", whole},
		{"file", newFile(t, blockdev.ReadWrite)},
		{"file, exclusive", newFile(t, blockdev.Exclusive)},
		{"image", blockdevtest.NewImage(memory)},
		{"recorder", blockdevtest.NewRecorder(memory)},
		{"injector without faults", blockdevtest.Inject(memory, blockdevtest.Faults{})},
	} {
		t.Run(tt.name, func(t *testing.T) { blockdevtest.TestDevice(t, tt.dev) })
	}
	for i, b := range around.Bytes() {
		if b != 0 && (i < size || i >= 2*size) {
			t.Fatalf("byte %d outside of the section was written", i)
		}
	}
}

func TestSectionOutsideOfDevice(t *testing.T) {
	for _, r := range [][2]int64{{-1, 1}, {0, -1}, {size, 1}, {1, size}, {1 << 62, 1 << 62}} {
		if _, err := blockdev.NewSection(blockdev.NewMemory(make([]byte, size)), r[0], r[1]); !errors.Is(err, blockdev.ErrOutOfBounds) {
			t.Errorf("NewSection(%d, %d) = %v; want ErrOutOfBounds", r[0], r[1], err)
		}
	}
}

func TestOpen(t *testing.T) {
	f := newFile(t, blockdev.Exclusive)
	if f.IsBlock() || f.Size() != size {
		t.Errorf("IsBlock() = %v, Size() = %d; want false, %d", f.IsBlock(), f.Size(), size)
	}
	if _, err := blockdev.Open(f.Name(), blockdev.Exclusive); !errors.Is(err, blockdev.ErrInUse) {
		t.Errorf("Open(a file that is held) = %v; want ErrInUse", err)
	}
	ro, err := blockdev.Open(f.Name(), blockdev.ReadOnly)
	if err != nil {
		t.Fatalf("Open(a file that is held, read-only) = %v; want nil", err)
	}
	defer ro.Close()
	if _, err := ro.WriteAt([]byte{1}, 0); err == nil {
		t.Error("WriteAt on a read-only file gave no error")
	}
	if _, err := blockdev.Open(t.TempDir(), blockdev.ReadOnly); err == nil {
		t.Error("Open(a directory) gave no error")
	}
	if _, err := blockdev.Open(filepath.Join(t.TempDir(), "none"), blockdev.ReadOnly); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open(nothing) = %v; want ErrNotExist", err)
	}
}

// TestReadPastCache reads what Invalidate was told of in places and lengths of
// all kinds: past the page cache or through it, the bytes are the same, also
// those that are written later.
func TestReadPastCache(t *testing.T) {
	const size = 1<<20 + 5000
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(i ^ i>>8 ^ i>>16)
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := blockdev.Open(path, blockdev.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(f.Sync(), f.Invalidate(0, size)); err != nil {
		t.Fatal(err)
	}
	check := func(off, n, shift int) {
		t.Helper()
		p := make([]byte, 1<<20)[shift:][:n]
		m, err := f.ReadAt(p, int64(off))
		if end := min(n, size-off); m != end || (end < n) != (err == io.EOF) || !bytes.Equal(p[:m], want[off:off+end]) {
			t.Errorf("ReadAt(%d bytes, %d) = %d, %v; want %d of the bytes written", n, off, m, err, end)
		}
	}
	for _, n := range []int{1, 4096, 64 << 10, 128 << 10, 1<<20 - 4096} {
		for _, off := range []int{0, 4096, 512, 8192 + 1, size - 64<<10, size/4096*4096 - 64<<10, size - 1} {
			check(off, n, 0)
			check(off, n, 512)
			check(off, n, 1)
		}
	}
	copy(want[4096:], "later")
	if _, err := f.WriteAt([]byte("later"), 4096); err != nil {
		t.Fatal(err)
	}
	check(0, 128<<10, 0)
}

// TestWritePastCache writes pieces of all sizes, aligned or not, one over the
// other, and reads in between: what went past the page cache and what went
// through it must not miss each other.
func TestWritePastCache(t *testing.T) {
	const size = 8<<20 + 5000
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := blockdev.Open(path, blockdev.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want, rng := make([]byte, size), rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 2<<20+4096)
	sizes := []int{1, 512, 4096, 64 << 10, 512 << 10, 1 << 20, 2 << 20}
	for i := range 200 {
		n := sizes[rng.IntN(len(sizes))]
		off, shift := rng.IntN(size-n+1), 0
		switch rng.IntN(4) {
		case 0:
			shift = 1 + rng.IntN(4096)
		case 1: // as it comes
		default:
			off = off / 4096 * 4096
		}
		p := buf[shift:][:n]
		if i%3 == 0 {
			if m, err := f.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p[:m], want[off:off+n]) {
				t.Fatalf("step %d: ReadAt(%d bytes, %d) = %d, %v; not what was written", i, n, off, m, err)
			}
			continue
		}
		for j := range p {
			p[j] = byte(rng.Uint32())
		}
		copy(want[off:], p)
		if m, err := f.WriteAt(p, int64(off)); m != n || err != nil {
			t.Fatalf("step %d: WriteAt(%d bytes, %d) = %d, %v", i, n, off, m, err)
		}
	}
	if n, err := f.WriteAt(buf[:1<<20], size-1<<20+1); n != 0 || !errors.Is(err, blockdev.ErrOutOfBounds) {
		t.Errorf("WriteAt(past the end) = %d, %v; want ErrOutOfBounds", n, err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file is not what was written (%v)", err)
	}
}

// An error names the device, also one of what goes past the page cache.
func TestErrorsNameTheDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(path, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := blockdev.Open(path, blockdev.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	large := make([]byte, 1<<20) // so large that it is aligned to pages
	for _, p := range [][]byte{large, large[:512]} {
		if _, err := d.WriteAt(p, 0); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("WriteAt(%d bytes) to a device that is open for reading = %v; want an error with %s", len(p), err, path)
		}
	}
}
