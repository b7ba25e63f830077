// Package logwrites reads logs of dm-log-writes, as QEMU's blklogwrites
// writes them too: every write, flush and discard that a disk was given, in
// the order in which they were done.
//
// The format is that of the kernel's drivers/md/dm-log-writes.c, all of it
// little endian and in sectors of the log's own size:
//
//	sector 0   magic, version, number of entries (64 bits each), sector size (32)
//	then       an entry of one sector: sector, number of sectors, flags,
//	           bytes of data in the entry's own sector (64 bits each), the data
//	           of a mark; after it the data of a write, in whole sectors
//	...
//
// A disk's sectors are of the log's size. A flush comes before the data of its
// own entry, FUA says that the data was on the medium when the write was done.
package logwrites

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	magic     = 0x6a736677736872
	version   = 1
	superSize = 28
	entrySize = 32
	// MaxWrite is the longest write that is read: QEMU's are shorter.
	MaxWrite = 1 << 30
)

// Flags of an entry.
const (
	Flush   Flags = 1 << 0
	FUA     Flags = 1 << 1
	Discard Flags = 1 << 2
	Mark    Flags = 1 << 3

	// known are the flags that the format has; metadata (1 << 4) only tells.
	known = Flush | FUA | Discard | Mark | 1<<4
)

// Flags say what an entry is. One without any is a write.
type Flags uint64

// Has says whether all of these flags are set.
func (f Flags) Has(all Flags) bool { return f&all == all }

// ErrFormat is wrapped by errors about a log that is none, or is damaged.
var ErrFormat = errors.New("not a log of dm-log-writes")

// An Entry is one operation of the disk.
type Entry struct {
	Flags    Flags
	Off, Len int64 // of the disk's bytes that are written or discarded
	// Data are the Len bytes that a write wrote, or a mark's name. It is valid
	// until the next call of Next.
	Data []byte
}

// A Reader reads a log's entries.
type Reader struct {
	r       io.ReaderAt
	size    int64
	sector  int64
	pos     int64 // of the next entry
	entries int64
	read    int64
	buf     []byte
}

// NewReader reads the first sector of a log of size bytes.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	var b [superSize]byte
	if _, err := r.ReadAt(b[:], 0); err != nil {
		return nil, fmt.Errorf("reading the log's head: %w", unexpected(err))
	}
	if m, v := binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:]); m != magic || v != version {
		return nil, fmt.Errorf("reading the log's head: %w: magic %#x, version %d", ErrFormat, m, v)
	}
	sector := int64(binary.LittleEndian.Uint32(b[24:]))
	if sector < 512 || sector > 1<<16 || sector&(sector-1) != 0 {
		return nil, fmt.Errorf("reading the log's head: %w: sectors of %d bytes", ErrFormat, sector)
	}
	entries := binary.LittleEndian.Uint64(b[16:])
	if entries > uint64(size/sector) { // each has a sector at least
		return nil, fmt.Errorf("reading the log's head: %w: %d entries in %d bytes", ErrFormat, entries, size)
	}
	return &Reader{r: r, size: size, sector: sector, pos: sector, entries: int64(entries)}, nil
}

// Entries is how many entries the log's head counts. QEMU writes the head after
// each flush, so that a reader of a log in the making sees what was flushed.
func (r *Reader) Entries() int { return int(r.entries) }

// Next returns the next entry, or io.EOF after the last one.
func (r *Reader) Next() (Entry, error) {
	if r.read == r.entries {
		return Entry{}, io.EOF
	}
	e, err := r.next()
	if err != nil {
		return Entry{}, fmt.Errorf("reading entry %d of the log at byte %d: %w", r.read, r.pos, err)
	}
	r.read++
	return e, nil
}

func (r *Reader) next() (Entry, error) {
	head, err := r.bytes(r.pos, r.sector)
	if err != nil {
		return Entry{}, err
	}
	var v [4]uint64
	for i := range v {
		v[i] = binary.LittleEndian.Uint64(head[8*i:])
	}
	sector, sectors, flags, inHead := v[0], v[1], Flags(v[2]), v[3]
	if flags&^known != 0 {
		return Entry{}, fmt.Errorf("%w: flags %#x", ErrFormat, uint64(flags))
	}
	most := uint64(1<<62) / uint64(r.sector)
	if sector > most || sectors > most-sector {
		return Entry{}, fmt.Errorf("%w: %d sectors from %d on", ErrFormat, sectors, sector)
	}
	if inHead > uint64(r.sector-entrySize) {
		return Entry{}, fmt.Errorf("%w: %d bytes in the entry", ErrFormat, inHead)
	}
	e := Entry{Flags: flags, Off: int64(sector) * r.sector, Len: int64(sectors) * r.sector}
	switch {
	case flags.Has(Mark):
		e.Data = head[entrySize : entrySize+inHead]
	case flags.Has(Discard) || e.Len == 0:
	case e.Len > MaxWrite:
		return Entry{}, fmt.Errorf("%w: a write of %d bytes", ErrFormat, e.Len)
	default:
		if e.Data, err = r.bytes(r.pos+r.sector, e.Len); err != nil {
			return Entry{}, err
		}
		r.pos += e.Len
	}
	r.pos += r.sector
	return e, nil
}

// bytes reads n bytes, which the log must hold before there is room for them.
func (r *Reader) bytes(off, n int64) ([]byte, error) {
	if off > r.size || n > r.size-off {
		return nil, io.ErrUnexpectedEOF
	}
	if int64(cap(r.buf)) < n {
		r.buf = make([]byte, n)
	}
	b := r.buf[:n]
	if got, err := r.r.ReadAt(b, off); got < len(b) {
		return nil, unexpected(err)
	}
	return b, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
