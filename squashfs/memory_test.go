package squashfs_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

func heap() int64 {
	runtime.GC()
	runtime.GC() // for what a sync.Pool holds
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// measuring is a Sink that looks at the heap every so many bytes.
type measuring struct {
	mu      sync.Mutex
	every   int64
	n, next int64
	peak    int64
}

func (s *measuring) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n += int64(len(p)); s.n >= s.next {
		s.next += s.every
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
		sink := &measuring{every: 4 << 20}
		w, err := newCreator(sink, opt)
		if err != nil {
			t.Fatal(err)
		}
		for i, size := range []int64{10_000_000, 10_000_000, 4 << 20, 4 << 20, 10_000_000} { // two are equal
			f := file(fmt.Sprint(i), squashfstest.Noise(uint64(size), size))
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

// manyRows are trees of which every entry costs something else. Names have 30
// bytes.
var manyRows = []struct {
	name        string
	compression squashfs.Compression
	entry       func(i int) (e fstree.Entry, content []byte)
	file, close int64 // limits for each entry until Close and during it
}{
	{"small files", squashfs.Zstd, func(i int) (fstree.Entry, []byte) {
		return fstree.Entry{Type: fstree.Regular, Size: 3}, []byte{byte(i), byte(i >> 8), byte(i >> 16)}
	}, 42, 30},
	{"files of a block", squashfs.Zstd, func(i int) (fstree.Entry, []byte) {
		return fstree.Entry{Type: fstree.Regular, Size: 4096}, bytes.Repeat([]byte{byte(i), byte(i >> 8), byte(i >> 16), 1}, 1024)
	}, 70, 58}, // 24 for the run and 4 for its block
	{"empty files", squashfs.Zstd, func(i int) (fstree.Entry, []byte) {
		return fstree.Entry{Type: fstree.Regular}, nil
	}, 1, 20},
	{"stored as they are", squashfs.None, func(i int) (fstree.Entry, []byte) {
		return fstree.Entry{Type: fstree.FIFO}, nil
	}, 1, 8 + 8 + 30 + 2},
	{"different attributes", squashfs.Zstd, func(i int) (fstree.Entry, []byte) {
		return fstree.Entry{Type: fstree.FIFO, Xattrs: []fstree.Xattr{{Name: "security.ima", Value: fmt.Appendf(nil, "%080d", i)}}}, nil
	}, 1, 80}, // a set of its own, with a value that is looked for
}

// TestHeapOfEntries holds a Writer to what the package comment says it keeps
// of each content, and of each entry in Close, besides the tree.
func TestHeapOfEntries(t *testing.T) {
	few, count := 50_000, 200_000 // few show what does not grow
	if raceDetector {
		few, count = 10_000, 40_000
	}
	for _, tt := range manyRows {
		t.Run(tt.name, func(t *testing.T) {
			opt := squashfs.Options{Workers: 1, BlockSize: 4096, Compression: tt.compression}
			file0, closing0 := heapOfEntries(t, few, opt, tt.entry)
			file, closing := heapOfEntries(t, few+count, opt, tt.entry)
			file, closing = (file-file0)/int64(count), (closing-closing0)/int64(count)
			t.Logf("%d bytes an entry until Close, %d in it", file, closing)
			if file > tt.file || closing > tt.close {
				t.Errorf("an entry takes %d bytes until Close and %d in it; want at most %d and %d", file, closing, tt.file, tt.close)
			}
		})
	}
}

// TestHeapOfLargeXattrs has attributes of 64 KiB, which are not held a second
// time.
func TestHeapOfLargeXattrs(t *testing.T) {
	const few, count = 10, 500
	entry := func(i int) (fstree.Entry, []byte) {
		value := make([]byte, 64<<10)
		rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(value)
		return fstree.Entry{Type: fstree.FIFO, Xattrs: []fstree.Xattr{{Name: "trusted.large", Value: value}}}, nil
	}
	opt := squashfs.Options{Workers: 1, BlockSize: 4096}
	_, closing0 := heapOfEntries(t, few, opt, entry)
	_, closing := heapOfEntries(t, few+count, opt, entry)
	each := (closing - closing0) / count
	t.Logf("%d bytes an entry in Close", each)
	if each > 1<<10 {
		t.Errorf("an attribute of 64 KiB takes %d bytes in Close besides the tree's; want at most 1 KiB", each)
	}
}

// heapOfEntries returns what the heap has grown by, besides the tree, when
// count entries have been given to a Writer, and at most during Close.
func heapOfEntries(t *testing.T, count int, opt squashfs.Options, entry func(i int) (fstree.Entry, []byte)) (file, closing int64) {
	t.Helper()
	base := heap()
	sink := &measuring{every: 1 << 60}
	w, err := newCreator(sink, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for i := range count {
		e, content := entry(i)
		e.Path = fmt.Sprintf("usr/share/%03d/a-name-of-30-bytes-%011d", i/1000, i)
		if err := w.add(e, &slice{content}); err != nil {
			t.Fatal(err)
		}
	}
	file = heap() - base - w.tree.Bytes()
	sink.mu.Lock() // the Writer's goroutines are at work
	sink.every, sink.next, sink.peak = 64<<10, 0, 0
	sink.mu.Unlock()
	if _, err := w.close(); err != nil {
		t.Fatal(err)
	}
	return file, sink.peak - base - w.tree.Bytes()
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
