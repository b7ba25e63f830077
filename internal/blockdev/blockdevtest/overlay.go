package blockdevtest

import (
	"io"
	"sync"

	"github.com/abupdate/abupdate/internal/blockdev"
)

const (
	pageSize   = 4096
	sectorSize = 512
)

// An Image is what a disk holds after a power cut: a Device that is read from
// another one, which it never changes, with pages of its own where something
// was written. It can be written to, to go on from there, and like a disk used
// by several at once.
type Image struct {
	base  blockdev.Device
	mu    sync.Mutex
	pages map[int64]*[pageSize]byte

	sum    uint64 // what Sum gave, if nothing was written since
	summed bool
}

// NewImage returns an Image that reads as base. As long as it is used nothing
// may change base.
func NewImage(base blockdev.Device) *Image {
	return &Image{base: base, pages: make(map[int64]*[pageSize]byte)}
}

// Size implements blockdev.Device.
func (m *Image) Size() int64 { return m.base.Size() }

// Sync implements blockdev.Device; an Image has nothing to sync.
func (m *Image) Sync() error { return nil }

// ReadAt implements io.ReaderAt.
func (m *Image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, blockdev.CheckBounds(off, int64(len(p)), m.Size())
	}
	if off >= m.Size() {
		return 0, io.EOF
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := int(min(int64(len(p)), m.Size()-off))
	for done := 0; done < n; {
		c, err := m.readPage(p[done:n], off+int64(done))
		if err != nil {
			return done, err
		}
		done += c
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readPage reads up to the end of the page, or run of pages of the base, that
// off is in.
func (m *Image) readPage(p []byte, off int64) (int, error) {
	if page := m.pages[off/pageSize]; page != nil {
		return copy(p, page[off%pageSize:]), nil
	}
	n := min(len(p), int(pageSize-off%pageSize))
	for n < len(p) && m.pages[(off+int64(n))/pageSize] == nil {
		n = min(len(p), n+pageSize)
	}
	return readFull(m.base, p[:n], off)
}

// readFull reads all of p, for which io.EOF at the very end is no error.
func readFull(r io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// WriteAt implements io.WriterAt.
func (m *Image) WriteAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckBounds(off, int64(len(p)), m.Size()); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.summed = false
	for done := 0; done < len(p); {
		at := off + int64(done)
		page, err := m.page(at/pageSize, at%pageSize == 0 && len(p)-done >= pageSize)
		if err != nil {
			return done, err
		}
		done += copy(page[at%pageSize:], p[done:])
	}
	return len(p), nil
}

// page returns the image's own copy of page i. One that is about to be written
// as a whole need not be read.
func (m *Image) page(i int64, whole bool) (*[pageSize]byte, error) {
	if page := m.pages[i]; page != nil {
		return page, nil
	}
	page := new([pageSize]byte)
	if !whole {
		n := min(pageSize, m.Size()-i*pageSize)
		if _, err := readFull(m.base, page[:n], i*pageSize); err != nil {
			return nil, err
		}
	}
	m.pages[i] = page
	return page, nil
}
