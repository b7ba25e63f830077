package squashfs_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

// A sparseFile is a Sink over a file in which bytes below from are left out:
// an image of more than 4 GiB of which only the end takes room.
type sparseFile struct {
	f    *os.File
	off  int64
	from int64
}

func (s *sparseFile) Write(p []byte) (int, error) {
	off := s.off
	s.off += int64(len(p))
	if skip := min(max(s.from-off, 0), int64(len(p))); skip < int64(len(p)) {
		if _, err := s.f.WriteAt(p[skip:], off+skip); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (s *sparseFile) WriteFirst(block []byte) error {
	_, err := s.f.WriteAt(block, 0)
	return err
}

// sparseImage makes an image of what add passes on, in a file and in also.
func sparseImage(t *testing.T, from int64, opt squashfs.Options, add func(w *creator) error, also ...squashfs.Sink) (string, squashfs.Stats) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image.squashfs"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := newCreator(squashfs.Tee(append(also, &sparseFile{f: f, off: 4096, from: from})...), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if err := add(w); err != nil {
		t.Fatal(err)
	}
	stats, err := w.close()
	if err != nil {
		t.Fatal(err)
	}
	return f.Name(), stats
}

// repeat reads as pattern again and again.
type repeat struct{ pattern []byte }

func (r repeat) Read(p []byte) (int, error) {
	for n := 0; n < len(p); n += copy(p[n:], r.pattern) {
	}
	return len(p), nil
}

// TestImageOver4GiB reads files that start behind 4 GiB, in runs and in
// fragments, and tables behind them.
func TestImageOver4GiB(t *testing.T) {
	const before = 4<<30 + 12345
	files := []squashfstest.File{
		file("after/small", squashfstest.Text(1, 1000)),
		file("after/large", squashfstest.Noise(2, 3<<20+1)),
		file("after/hole", squashfstest.WithHole(squashfstest.Noise(3, 2<<20), 1<<20, 2<<20)),
	}
	name, stats := sparseImage(t, before, squashfs.Options{Compression: squashfs.None, BlockSize: 1 << 20}, func(w *creator) error {
		big := fstree.Entry{Path: "big", Type: fstree.Regular, Mode: 0o644, Size: before}
		if err := w.add(big, io.LimitReader(repeat{bytes.Repeat([]byte("full"), 1<<18)}, before)); err != nil {
			return err
		}
		return w.addAll(files)
	})
	if stats.Bytes < before {
		t.Fatalf("image of %d bytes; want more than %d", stats.Bytes, int64(before))
	}
	for _, f := range files {
		var want bytes.Buffer
		if _, err := want.ReadFrom(f.Content.Reader()); err != nil {
			t.Fatal(err)
		}
		if got := unsquashfs(t, "-no-progress", "-cat", name, f.Path); got != want.String() {
			t.Errorf("%s: %d bytes that differ from the %d put in", f.Path, len(got), want.Len())
		}
	}
	if out := unsquashfs(t, "-lln", name); !strings.Contains(out, fmt.Sprintf(" %d ", int64(before))) {
		t.Errorf("unsquashfs lists\n%swithout a size of %d", out, int64(before))
	}
}

// TestSparseFile has one of 10 GiB that is nearly all hole: the image stays
// small.
func TestSparseFile(t *testing.T) {
	const size = 10<<30 + 5<<20 + 1
	end := squashfstest.Noise(4, 1<<20)
	name, stats := sparseImage(t, 0, squashfs.Options{BlockSize: 1 << 20}, func(w *creator) error {
		content := io.MultiReader(end.Reader(), io.LimitReader(repeat{make([]byte, 1<<20)}, size-2<<20), end.Reader())
		return w.add(fstree.Entry{Path: "sparse", Type: fstree.Regular, Mode: 0o644, Size: size}, content)
	})
	if stats.Bytes > 3<<20 || stats.Holes < 10<<30 {
		t.Errorf("image of %d bytes with holes of %d; want less than 3 MiB and more than 10 GiB", stats.Bytes, stats.Holes)
	}
	root := filepath.Join(t.TempDir(), "root")
	unsquashfs(t, "-quiet", "-no-progress", "-no-xattrs", "-dest", root, name)
	f, err := os.Open(filepath.Join(root, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != size {
		t.Fatalf("extracted file: %v, %v; want %d bytes", info, err, int64(size))
	}
	want, got := make([]byte, 1<<20), make([]byte, 1<<20)
	for _, at := range []struct {
		off  int64
		want io.ReaderAt
	}{{0, end}, {1 << 20, squashfstest.Zero(1 << 20)}, {10 << 30, squashfstest.Zero(1 << 20)}, {size - 1<<20, end}} {
		if _, err := at.want.ReadAt(want, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(got, at.off); err != nil || !bytes.Equal(got, want) {
			t.Errorf("1 MiB at byte %d differs (error %v)", at.off, err)
		}
	}
}
