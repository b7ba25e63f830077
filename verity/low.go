package verity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

// A Store keeps the hashes of the data blocks outside of memory while a tree
// is made: 32 bytes for each, in order, from offset 0 on. What it returns is
// checked, so it may be storage that nobody guards.
type Store interface {
	io.ReaderAt
	io.WriterAt
}

// lowChunk is how much of the lowest level is read or written at a time.
const lowChunk = 64 << 10

// A low is the lowest level of a tree: the hashes of the data blocks, either
// in memory or in r, where they are checked against the level above each time
// that they are read.
type low struct {
	mem   []byte
	r     io.ReaderAt
	off   int64  // in r
	size  int64  // bytes of hashes, without padding
	above []byte // hashes of the level's blocks
	salt  []byte

	mu    sync.Mutex
	chunk []byte // lowChunk bytes of the level, or less at its end
	at    int64  // where chunk stands in the level
}

// copyTo fills p with the hashes from byte off of the level on.
func (l *low) copyTo(p []byte, off int64) error {
	if l.mem != nil {
		copy(p, l.mem[off:])
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(p) > 0 {
		if err := l.load(off / lowChunk * lowChunk); err != nil {
			return err
		}
		n := copy(p, l.chunk[off-l.at:])
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// load makes chunk the one at off.
func (l *low) load(off int64) error {
	if l.chunk != nil && l.at == off {
		return nil
	}
	n := min(lowChunk, l.size-off)
	padded := (n + BlockSize - 1) / BlockSize * BlockSize
	if int64(cap(l.chunk)) < padded {
		l.chunk = make([]byte, padded)
	}
	b := l.chunk[:padded]
	l.chunk = nil // until it is known to be right
	clear(b[n:])
	if err := readFull(l.r, b[:n], l.off+off, l.off+l.size); err != nil {
		return fmt.Errorf("reading hash tree level 0: %w", err)
	}
	first := off / BlockSize * hashSize
	if bad := mismatch(b, l.above[first:first+padded/BlockSize*hashSize], l.salt); bad >= 0 {
		return fmt.Errorf("reading hash tree level 0: block %d at byte %d does not match the level above: %w",
			off/BlockSize+int64(bad), l.off+off+int64(bad)*BlockSize, ErrCorrupt)
	}
	l.chunk, l.at = b[:n], off
	return nil
}

// A lowWriter takes the hashes of data blocks from the second on, and the
// first one last, into a Store.
type lowWriter struct {
	store Store
	salt  []byte
	buf   []byte // hashes not yet written
	off   int64  // where buf belongs
	head  []byte // a copy of the first hash block, once it is written
	above []byte // the hashes of the blocks written
}

func newLowWriter(store Store, salt []byte) *lowWriter {
	return &lowWriter{store: store, salt: salt, buf: make([]byte, hashSize, lowChunk)}
}

// grow returns room for n more hashes, at most lowChunk bytes at once.
func (w *lowWriter) grow(n int) ([]byte, error) {
	if len(w.buf)+n > cap(w.buf) {
		if err := w.flush(len(w.buf) / BlockSize * BlockSize); err != nil {
			return nil, err
		}
	}
	start := len(w.buf)
	w.buf = w.buf[:start+n]
	return w.buf[start:], nil
}

// flush writes the first n bytes of buf, whole blocks unless it is the end.
func (w *lowWriter) flush(n int) error {
	if n == 0 {
		return nil
	}
	if _, err := w.store.WriteAt(w.buf[:n], w.off); err != nil {
		return fmt.Errorf("keeping hashes: %w", err)
	}
	if w.off == 0 {
		w.head = bytes.Clone(w.buf[:min(n, BlockSize)])
	}
	w.above = append(w.above, hashLevel(w.buf[:n], w.salt)...)
	w.off += int64(n)
	w.buf = w.buf[:copy(w.buf, w.buf[n:])]
	return nil
}

// first sets the first hash.
func (w *lowWriter) first(hash []byte) error {
	if w.off == 0 {
		copy(w.buf, hash)
		return nil
	}
	copy(w.head, hash)
	if _, err := w.store.WriteAt(w.head, 0); err != nil {
		return fmt.Errorf("keeping hashes: %w", err)
	}
	copy(w.above, hashLevel(w.head, w.salt))
	return nil
}

// finish returns the level.
func (w *lowWriter) finish() (*low, error) {
	if w.off == 0 && len(w.buf) == hashSize { // one block of data has no level above
		return &low{mem: w.buf, size: hashSize}, nil
	}
	if err := w.flush(len(w.buf)); err != nil {
		return nil, err
	}
	return &low{r: w.store, size: w.off, above: w.above, salt: w.salt}, nil
}

// memory is a Store of which nothing is checked.
type memory struct{ b []byte }

var errMemory = errors.New("outside of the hashes")

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if off > int64(len(m.b)) {
		return 0, errMemory
	}
	if end := int(off) + len(p); end > len(m.b) {
		m.b = append(m.b, make([]byte, end-len(m.b))...)
	}
	return copy(m.b[off:], p), nil
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > int64(len(m.b)) {
		return 0, errMemory
	}
	return copy(p, m.b[off:]), nil
}
