package blockdev

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is a huge page's size on most machines, in bytes. Where it is
// another, a Buffer is one of ordinary pages.
const hugePage = 2 << 20

// A Buffer is room for large reads and writes that go past the page cache. It
// lies in huge pages where the kernel has some to give: to the disk that is one
// piece of memory, and not one for each 4 KiB, which takes half of the time.
type Buffer struct {
	bytes, mapped []byte
}

// NewBuffer makes one of n zero bytes, to be freed. Less than half of a huge page
// is not worth one.
func NewBuffer(n int) *Buffer {
	if n < hugePage/2 {
		return &Buffer{bytes: make([]byte, n)}
	}
	// As much as is sure to have whole huge pages for all of it.
	whole := (n+hugePage-1)/hugePage*hugePage + hugePage
	mapped, err := unix.Mmap(-1, 0, whole, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return &Buffer{bytes: make([]byte, n)}
	}
	_ = unix.Madvise(mapped, unix.MADV_HUGEPAGE) // without it works, too
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(mapped))) % hugePage
	return &Buffer{mapped[skip:][:n:n], mapped}
}

// Bytes is the room. It must not be touched after Free.
func (b *Buffer) Bytes() []byte { return b.bytes }

// Free gives the room back.
func (b *Buffer) Free() {
	if b.mapped != nil {
		_ = unix.Munmap(b.mapped)
	}
	b.bytes, b.mapped = nil, nil
}
