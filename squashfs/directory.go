package squashfs

import (
	"errors"
	"math"
)

const (
	maxDirCount = 256       // entries under one header (SQUASHFS_DIR_COUNT)
	maxIndexes  = 1<<16 - 1 // i_count has 16 bits; further blocks go unindexed
)

// A dirEntry is a name in a listing and the inode behind it.
type dirEntry struct {
	name  []byte
	typ   uint16
	inode uint32
	ref   uint64 // of the inode
}

// A listingWriter appends one directory to the directory table. Entries stand
// in runs of up to 256 under a header, each run within one metadata block of
// inodes and one of the listing:
//
//	header: count - 1, inode block, inode number uint32
//	entry:  offset in the inode block uint16, inode number - header's int16, type, name length - 1 uint16, name
//	index:  position of a header in the listing, its metadata block, name length - 1 uint32, name
//
// The index has the first header of every further metadata block.
type listingWriter struct {
	m       *metadataWriter
	l       listing
	indexed int64  // number of the last metadata block that has an index entry, counted from the listing's first
	buf     []byte // the header and entries that are not yet written
	count   int
	block   uint32 // inode block of the header
	inode   uint32 // inode number of the header
}

func newListingWriter(m *metadataWriter) *listingWriter {
	w := &listingWriter{m: m}
	w.l.block, w.l.offset = m.ref()
	return w
}

// pos is the position in the listing of what comes next.
func (w *listingWriter) pos() int64 { return w.l.size + int64(len(w.buf)) }

// blockOf counts metadata blocks from the one in which the listing begins.
func (w *listingWriter) blockOf(pos int64) int64 {
	return (int64(w.l.offset) + pos) / metadataSize
}

func (w *listingWriter) fits(e dirEntry) bool {
	delta := int64(e.inode) - int64(w.inode)
	return w.count > 0 && w.count < maxDirCount && uint32(e.ref>>16) == w.block &&
		delta >= math.MinInt16 && delta <= math.MaxInt16 && w.blockOf(w.pos()) == w.blockOf(w.l.size)
}

func (w *listingWriter) add(e dirEntry) error {
	if !w.fits(e) {
		if err := w.flush(); err != nil {
			return err
		}
		w.begin(e)
	}
	w.buf = le.AppendUint16(w.buf, uint16(e.ref))
	w.buf = le.AppendUint16(w.buf, uint16(int16(int64(e.inode)-int64(w.inode))))
	w.buf = le.AppendUint16(w.buf, e.typ)
	w.buf = le.AppendUint16(w.buf, uint16(len(e.name)-1))
	w.buf = append(w.buf, e.name...)
	w.count++
	return nil
}

// begin starts a header with e as the first entry under it, and an index entry
// when the header is the first in its metadata block.
func (w *listingWriter) begin(e dirEntry) {
	w.block, w.inode = uint32(e.ref>>16), e.inode
	w.buf = append(w.buf, make([]byte, 4)...) // the count: see flush
	w.buf = le.AppendUint32(w.buf, w.block)
	w.buf = le.AppendUint32(w.buf, w.inode)
	block := w.blockOf(w.l.size)
	if block == w.indexed || w.l.count == maxIndexes {
		return
	}
	w.indexed = block
	w.l.count++
	at, _ := w.m.ref()
	w.l.index = le.AppendUint32(w.l.index, uint32(w.l.size))
	w.l.index = le.AppendUint32(w.l.index, uint32(at))
	w.l.index = le.AppendUint32(w.l.index, uint32(len(e.name)-1))
	w.l.index = append(w.l.index, e.name...)
}

func (w *listingWriter) flush() error {
	if w.count == 0 {
		return nil
	}
	le.PutUint32(w.buf, uint32(w.count-1))
	if err := w.m.write(w.buf); err != nil {
		return err
	}
	w.l.size += int64(len(w.buf))
	w.buf, w.count = w.buf[:0], 0
	return nil
}

// finish returns the listing, ready for appendDir.
func (w *listingWriter) finish() (listing, error) {
	if err := w.flush(); err != nil {
		return listing{}, err
	}
	if w.l.size > math.MaxUint32-dirOverhead || w.m.pos > math.MaxUint32 {
		return listing{}, errors.New("more than 4 GiB of directory entries")
	}
	return w.l, nil
}
