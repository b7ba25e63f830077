package blockdev

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// behindBytes is how much may wait in the page cache until its writing begins.
const behindBytes = 8 << 20

// A Behind has the kernel write out what was written in order while more is
// made. Otherwise it waits, on a machine with much memory, for the Sync at the
// end, and there is nothing else to do meanwhile. The zero value is ready.
type Behind struct {
	mu         sync.Mutex
	start, end int64 // written, and its writing out not begun
}

// Wrote says that n bytes were written to f at off. It only hints: errors are
// left to Sync.
func (b *Behind) Wrote(f *os.File, off, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if off != b.end {
		b.start = off
	}
	b.end = off + n
	if b.end-b.start >= behindBytes {
		_ = unix.SyncFileRange(int(f.Fd()), b.start, b.end-b.start, unix.SYNC_FILE_RANGE_WRITE)
		b.start = b.end
	}
}
