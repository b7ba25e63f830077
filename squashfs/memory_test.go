package squashfs_test

import (
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// measuring is a Sink that looks at the heap every 4 MiB.
type measuring struct {
	n, next int64
	peak    int64
}

func (s *measuring) Write(p []byte) (int, error) {
	if s.n += int64(len(p)); s.n >= s.next {
		s.next += 4 << 20
		s.peak = max(s.peak, heap())
	}
	return len(p), nil
}

func (s *measuring) WriteFirst([]byte) error { return nil }

// TestHeapOfBlocks holds the Writer to the bound in the package comment while
// 40 MB pass through it.
func TestHeapOfBlocks(t *testing.T) {
	for _, opt := range []squashfs.Options{
		{Workers: 1}, {Workers: 8}, {Workers: 4, BlockSize: 1 << 20}, {Workers: 2, Level: 7}, {Workers: 2, Level: 19},
		{Workers: 4, Compression: squashfs.Gzip}, {Workers: 4, Compression: squashfs.None},
	} {
		base := heap()
		sink := &measuring{}
		w, err := newCreator(sink, opt)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			f := file(fmt.Sprint(i), squashfstest.Noise(uint64(i), 10_000_000))
			if err := w.add(f.Entry, f.Content.Reader()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.close(); err != nil {
			t.Fatal(err)
		}
		got, limit := sink.peak-base, squashfs.MemoryBound(opt)
		t.Logf("%s, %d workers: %d KiB of at most %d KiB", opt.Encoder(), opt.Workers, got>>10, limit>>10)
		if got > limit {
			t.Errorf("%s, %d workers: heap grew by %d KiB; want at most %d KiB", opt.Encoder(), opt.Workers, got>>10, limit>>10)
		}
	}
}

// TestHeapOfEntries holds it to the bound for each entry.
func TestHeapOfEntries(t *testing.T) {
	const count = 200_000
	base := heap()
	w, err := newCreator(&discard{}, squashfs.Options{Workers: 1, BlockSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	names := 0
	content := make([]byte, 3)
	for i := range count {
		content[0], content[1], content[2] = byte(i), byte(i>>8), byte(i>>16)
		e := fstree.Entry{Path: fmt.Sprintf("usr/share/%03d/a-name-of-30-bytes-%010d", i/1000, i), Type: fstree.Regular, Size: 3, Mode: 0o644}
		names += 30
		if err := w.add(e, &slice{content}); err != nil {
			t.Fatal(err)
		}
	}
	got := (heap() - base - int64(names)) / count
	t.Logf("%d bytes an entry besides its name", got)
	if got > 200 {
		t.Errorf("an entry takes %d bytes besides its name; want at most 200", got)
	}
	runtime.KeepAlive(w)
}

type slice struct{ rest []byte }

func (s *slice) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
