package partitions

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// The device side reads GPT itself: go-diskfs sizes its buffers by unchecked
// header fields, looks for the backup only in the last sector, and links
// package net. It writes new tables in partitions/disk, and its reader is the
// oracle of this one's tests.

const (
	gptSignature     = "EFI PART"
	gptRevision      = 0x00010000
	gptHeaderSize    = 92
	gptEntrySize     = 128
	maxEntriesBytes  = 1 << 20
	maxSectorOfTable = 1 << 50 // keeps byte offsets far from overflow
)

var errNoGPT = errors.New("no GUID partition table")

// A gptHeader is a decoded and checked header (UEFI 2.10, table 5-5).
type gptHeader struct {
	MyLBA, AlternateLBA         uint64
	FirstUsable, LastUsable     uint64
	DiskGUID                    guid
	EntriesLBA                  uint64
	EntryCount, EntrySize       uint32
	EntriesCRC                  uint32
	revision, headerSize, spare uint32
}

// A gptTable is one valid copy of a partition table.
type gptTable struct {
	hdr     gptHeader
	sector  int64
	entries []byte // the array as it stands on the disk
	raw     []byte // the header's sector
}

// readHeader decodes the header in the sector at lba and checks what can be
// checked without the entries.
func readHeader(dev blockdev.Device, sector int64, lba uint64) (*gptTable, error) {
	if lba == 0 || lba >= uint64(dev.Size()/sector) {
		return nil, fmt.Errorf("sector %d is outside of the disk: %w", lba, errNoGPT)
	}
	b := make([]byte, sector)
	if err := readFull(dev, b, int64(lba)*sector); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(b, []byte(gptSignature)) {
		return nil, errNoGPT
	}
	h := decodeHeader(b)
	if h.headerSize < gptHeaderSize || int64(h.headerSize) > sector {
		return nil, fmt.Errorf("header of %d bytes: %w", h.headerSize, ErrCorrupt)
	}
	sum := bytes.Clone(b[:h.headerSize])
	clear(sum[16:20])
	if got, want := crc32.ChecksumIEEE(sum), binary.LittleEndian.Uint32(b[16:]); got != want {
		return nil, fmt.Errorf("header has CRC %08x, says %08x: %w", got, want, ErrCorrupt)
	}
	if err := h.check(lba, sector, dev.Size()); err != nil {
		return nil, err
	}
	return &gptTable{hdr: h, sector: sector, raw: b}, nil
}

func decodeHeader(b []byte) gptHeader {
	le := binary.LittleEndian
	h := gptHeader{
		revision: le.Uint32(b[8:]), headerSize: le.Uint32(b[12:]), spare: le.Uint32(b[20:]),
		MyLBA: le.Uint64(b[24:]), AlternateLBA: le.Uint64(b[32:]),
		FirstUsable: le.Uint64(b[40:]), LastUsable: le.Uint64(b[48:]),
		EntriesLBA: le.Uint64(b[72:]), EntryCount: le.Uint32(b[80:]), EntrySize: le.Uint32(b[84:]),
		EntriesCRC: le.Uint32(b[88:]),
	}
	copy(h.DiskGUID[:], b[56:])
	return h
}

func (h gptHeader) check(lba uint64, sector, size int64) error {
	sectors := uint64(size / sector)
	array := uint64(h.EntryCount) * uint64(h.EntrySize)
	switch {
	case h.revision>>16 != gptRevision>>16:
		return fmt.Errorf("revision %#x: %w", h.revision, ErrCorrupt)
	case h.MyLBA != lba:
		return fmt.Errorf("header at sector %d says %d: %w", lba, h.MyLBA, ErrCorrupt)
	case h.EntrySize < gptEntrySize || h.EntrySize&(h.EntrySize-1) != 0 || h.EntryCount == 0 || array > maxEntriesBytes:
		return fmt.Errorf("%d entries of %d bytes: %w", h.EntryCount, h.EntrySize, ErrCorrupt)
	case h.EntriesLBA < 2 || h.EntriesLBA >= sectors || array > (sectors-h.EntriesLBA)*uint64(sector):
		return fmt.Errorf("entries at sector %d: %w", h.EntriesLBA, ErrCorrupt)
	case h.FirstUsable < 2 || h.FirstUsable > h.LastUsable || h.LastUsable > maxSectorOfTable || h.AlternateLBA > maxSectorOfTable:
		return fmt.Errorf("usable sectors %d to %d: %w", h.FirstUsable, h.LastUsable, ErrCorrupt)
	}
	return nil
}

// readTable reads the copy whose header is at lba, with its entries.
func readTable(dev blockdev.Device, sector int64, lba uint64) (*gptTable, error) {
	t, err := readHeader(dev, sector, lba)
	if err != nil {
		return nil, err
	}
	t.entries = make([]byte, int(t.hdr.EntryCount)*int(t.hdr.EntrySize))
	if err := readFull(dev, t.entries, int64(t.hdr.EntriesLBA)*sector); err != nil {
		return nil, err
	}
	if got := crc32.ChecksumIEEE(t.entries); got != t.hdr.EntriesCRC {
		return nil, fmt.Errorf("partition entries have CRC %08x, header says %08x: %w", got, t.hdr.EntriesCRC, ErrCorrupt)
	}
	return t, nil
}

// partitions decodes the used entries and checks them against each other.
func (t *gptTable) partitions() ([]Partition, error) {
	var parts []Partition
	size := int(t.hdr.EntrySize)
	for i := range int(t.hdr.EntryCount) {
		e := t.entries[i*size:][:gptEntrySize]
		if bytes.Equal(e[:16], make([]byte, 16)) {
			continue
		}
		first, last := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
		if first < t.hdr.FirstUsable || last > t.hdr.LastUsable || first > last {
			return nil, fmt.Errorf("partition %d has sectors %d to %d of %d to %d: %w", i+1, first, last, t.hdr.FirstUsable, t.hdr.LastUsable, ErrCorrupt)
		}
		parts = append(parts, Partition{
			Number: i + 1, Label: decodeName(e[56:]),
			TypeGUID: guid(e[:16]).String(), GUID: guid(e[16:32]).String(),
			Off: int64(first) * t.sector, Size: int64(last-first+1) * t.sector,
			Attributes: binary.LittleEndian.Uint64(e[48:]),
		})
	}
	return parts, checkOverlap(parts)
}

// decodeName reads a NUL-terminated UTF-16 label.
func decodeName(b []byte) string {
	var u []uint16
	for ; len(b) >= 2; b = b[2:] {
		c := binary.LittleEndian.Uint16(b)
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}

// readFull fills p; a device that ends early is an error.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading byte %d: %w", off+int64(n), err)
}
