package squashfs

import (
	"io"
)

// metadataSize is the length of a metadata block before compression
// (SQUASHFS_METADATA_SIZE).
const metadataSize = 8192

// A metadataWriter packs a stream of records into metadata blocks:
//
//	length uint16 (bit 15: stored as it is) | up to 8 KiB, compressed
//
// Records may cross from one block into the next.
type metadataWriter struct {
	w      io.Writer
	c      compressor
	packed []byte
	buf    []byte
	pos    int64   // bytes written to w
	starts []int64 // pos of every block written
}

func newMetadataWriter(w io.Writer, c compressor) *metadataWriter {
	return &metadataWriter{w: w, c: c, packed: make([]byte, 0, metadataSize+1024), buf: make([]byte, 0, metadataSize)}
}

// ref returns where the next record starts: the block's position in the table
// and the offset in the uncompressed block.
func (m *metadataWriter) ref() (block int64, offset int) {
	return m.pos, len(m.buf)
}

func (m *metadataWriter) write(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), metadataSize-len(m.buf))
		m.buf, p = append(m.buf, p[:n]...), p[n:]
		if len(m.buf) == metadataSize {
			if err := m.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush ends the current block.
func (m *metadataWriter) flush() error {
	if len(m.buf) == 0 {
		return nil
	}
	out, stored := pack(m.c, m.packed, m.buf)
	length := uint16(len(out))
	if stored {
		length |= 1 << 15
	}
	m.starts = append(m.starts, m.pos)
	if _, err := m.w.Write(le.AppendUint16(nil, length)); err != nil {
		return err
	}
	if _, err := m.w.Write(out); err != nil {
		return err
	}
	m.pos += 2 + int64(len(out))
	m.buf = m.buf[:0]
	return nil
}

// length is the number of bytes written so far, before compression. For a
// record that starts there, it says in half the room what ref says.
func (m *metadataWriter) length() int64 {
	return int64(len(m.starts))*metadataSize + int64(len(m.buf))
}

// refAt returns the ref of what started at a length.
func (m *metadataWriter) refAt(length int64) uint64 {
	block := m.pos
	if i := length / metadataSize; i < int64(len(m.starts)) {
		block = m.starts[i]
	}
	return metadataRef(block, int(length%metadataSize))
}

// metadataRef joins a position in a table as the format does.
func metadataRef(block int64, offset int) uint64 {
	return uint64(block)<<16 | uint64(offset)
}

// writeLookup writes metadata blocks of what records writes and behind them,
// after header, the positions of the blocks. It returns the position of header.
func writeLookup(out *output, c compressor, header []byte, records func(m *metadataWriter) error) (int64, error) {
	base := out.pos
	m := newMetadataWriter(out, c)
	if err := records(m); err != nil {
		return 0, err
	}
	if err := m.flush(); err != nil {
		return 0, err
	}
	start := out.pos
	index := header
	for _, block := range m.starts {
		index = le.AppendUint64(index, uint64(base+block))
	}
	_, err := out.Write(index)
	return start, err
}

// pages holds what must be written later, without ever copying it.
type pages struct {
	full [][]byte
	last []byte
}

const pageSize = 64 << 10

// Write implements io.Writer.
func (p *pages) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if len(p.last) == cap(p.last) {
			if p.last != nil {
				p.full = append(p.full, p.last)
			}
			p.last = make([]byte, 0, pageSize)
		}
		m := min(len(b), cap(p.last)-len(p.last))
		p.last, b = append(p.last, b[:m]...), b[m:]
	}
	return n, nil
}

// writeTo writes it all and lets go of it.
func (p *pages) writeTo(w io.Writer) error {
	for i, page := range p.full {
		if _, err := w.Write(page); err != nil {
			return err
		}
		p.full[i] = nil
	}
	_, err := w.Write(p.last)
	*p = pages{}
	return err
}
