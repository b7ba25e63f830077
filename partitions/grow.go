package partitions

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// growAlign is what the end of a grown partition is rounded down to.
const growAlign = 1 << 20

// GrowLast makes the partition table fill the disk: the backup table moves to
// the disk's end, and if the last partition is labelled var it grows up to
// there. It repairs a damaged copy of the table and a wrong protective MBR on
// the way. It says whether it had anything to write; when not, it wrote
// nothing.
//
// At every moment at least one copy is whole and is found by Open: the backup
// is complete and synced before the primary is touched, and a damaged primary
// is first written as the backup has it. Partitions never move or shrink.
func GrowLast(dev blockdev.Device) (changed bool, err error) {
	d, err := Open(dev)
	if err != nil {
		return false, err
	}
	w := &tableWriter{dev: dev}
	t := d.table
	if d.backup {
		if t, err = t.asPrimary(); err != nil {
			return false, err
		}
		w.copyAt(t, 1, t.hdr.EntriesLBA)
	}
	grown, err := t.grown(dev.Size(), d.parts)
	if err != nil {
		return false, err
	}
	last := grown.hdr.AlternateLBA
	w.copyAt(grown.backup(), last, last-grown.arraySectors())
	w.copyAt(grown, 1, grown.hdr.EntriesLBA)
	mbr := make([]byte, 512)
	if err := readFull(dev, mbr, 0); err != nil {
		return w.changed, fmt.Errorf("reading the protective MBR: %w", err)
	}
	w.write("protective MBR", protectiveMBR(mbr, last+1), 0)
	return w.changed, w.err
}

// A tableWriter writes what differs from the disk, syncing each piece.
type tableWriter struct {
	dev     blockdev.Device
	changed bool
	err     error
}

// copyAt writes one copy: the entries first, so that a valid header never
// stands without them.
func (w *tableWriter) copyAt(t *gptTable, headerLBA, entriesLBA uint64) {
	w.write("partition entries", t.entries, int64(entriesLBA)*t.sector)
	w.write("partition table header", t.header(headerLBA, entriesLBA), int64(headerLBA)*t.sector)
}

func (w *tableWriter) write(what string, want []byte, off int64) {
	if w.err != nil {
		return
	}
	got := make([]byte, len(want))
	if readFull(w.dev, got, off) == nil && bytes.Equal(got, want) {
		return
	}
	w.changed = true
	if _, err := w.dev.WriteAt(want, off); err != nil {
		w.err = fmt.Errorf("writing %s at byte %d: %w", what, off, err)
		return
	}
	if err := w.dev.Sync(); err != nil {
		w.err = fmt.Errorf("syncing %s at byte %d: %w", what, off, err)
	}
}

func (t *gptTable) arraySectors() uint64 {
	return (uint64(len(t.entries)) + uint64(t.sector) - 1) / uint64(t.sector)
}

// asPrimary returns the primary copy that belongs to a backup.
func (t *gptTable) asPrimary() (*gptTable, error) {
	p := *t
	p.hdr.MyLBA, p.hdr.AlternateLBA, p.hdr.EntriesLBA = 1, t.hdr.MyLBA, 2
	if 2+t.arraySectors() > t.hdr.FirstUsable {
		return nil, fmt.Errorf("repairing the partition table: no room before sector %d: %w", t.hdr.FirstUsable, ErrCorrupt)
	}
	return &p, nil
}

// backup returns the copy that belongs at the disk's end.
func (t *gptTable) backup() *gptTable {
	b := *t
	b.hdr.MyLBA, b.hdr.AlternateLBA = t.hdr.AlternateLBA, 1
	return &b
}

// grown returns the primary copy for a disk of size bytes.
func (t *gptTable) grown(size int64, parts []Partition) (*gptTable, error) {
	g := *t
	sectors := uint64(size / t.sector)
	g.hdr.AlternateLBA = sectors - 1
	g.hdr.LastUsable = sectors - 2 - t.arraySectors()
	last := slices.MaxFunc(parts, func(a, b Partition) int { return int(min(1, max(-1, a.Off-b.Off))) })
	usable := int64(g.hdr.LastUsable+1) * t.sector
	if last.end() > usable {
		return nil, fmt.Errorf("growing the partition table: partition %d (%s) ends at byte %d, where the backup table belongs: %w",
			last.Number, last.Label, last.end(), ErrCorrupt)
	}
	if end := usable / growAlign * growAlign; last.Label == LabelVar && end > last.end() {
		g.entries = bytes.Clone(t.entries)
		e := g.entries[(last.Number-1)*int(t.hdr.EntrySize):]
		binary.LittleEndian.PutUint64(e[40:], uint64(end/t.sector)-1)
	}
	g.hdr.EntriesCRC = crc32.ChecksumIEEE(g.entries)
	return &g, nil
}

// header encodes the table's header for its place; fields that this package
// does not know stay as they were.
func (t *gptTable) header(lba, entriesLBA uint64) []byte {
	b := bytes.Clone(t.raw)
	le := binary.LittleEndian
	le.PutUint64(b[24:], lba)
	le.PutUint64(b[32:], t.hdr.AlternateLBA)
	le.PutUint64(b[40:], t.hdr.FirstUsable)
	le.PutUint64(b[48:], t.hdr.LastUsable)
	le.PutUint64(b[72:], entriesLBA)
	le.PutUint32(b[88:], t.hdr.EntriesCRC)
	clear(b[16:20])
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:t.hdr.headerSize]))
	return b
}
