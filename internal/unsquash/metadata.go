package unsquash

import "fmt"

const (
	metadataSize    = 8 << 10
	metadataPlain   = 1 << 15 // in the length of a metadata block: not compressed
	positionsPerRow = metadataSize / 8
)

// metadataLimit bounds the bytes of the blocks that are kept, and those of the
// records that are read from them: many may name the same block.
var metadataLimit = 1 << 30 // less in a test

// metadata reads metadata blocks, each once unless there is a bound.
type metadata struct {
	im     *Image
	d      decompressor
	blocks map[int64]metadataBlock // by position in the image
	keep   int                     // bound of blocks; 0 for none
	total  int                     // bytes of blocks
	taken  int                     // bytes of records
}

type metadataBlock struct {
	data []byte
	next int64 // position of the block behind it
}

func newMetadata(im *Image) *metadata {
	return &metadata{im: im, blocks: make(map[int64]metadataBlock)}
}

// block reads the block at a position in the image.
func (m *metadata) block(pos int64) (metadataBlock, error) {
	if b, ok := m.blocks[pos]; ok {
		return b, nil
	}
	var head [2]byte
	if pos < superblockSize || pos > m.im.sb.bytesUsed-2 {
		return metadataBlock{}, fmt.Errorf("metadata at byte %d of %d: %w", pos, m.im.sb.bytesUsed, ErrCorrupt)
	}
	if err := readFull(m.im.r, head[:], pos); err != nil {
		return metadataBlock{}, err
	}
	stored := int64(le.Uint16(head[:]) &^ metadataPlain)
	next := pos + 2 + stored
	if stored == 0 || stored > metadataSize || next > m.im.sb.bytesUsed || m.total > metadataLimit {
		return metadataBlock{}, fmt.Errorf("metadata block of %d bytes at byte %d: %w", stored, pos, ErrCorrupt)
	}
	data := make([]byte, stored)
	if err := readFull(m.im.r, data, pos+2); err != nil {
		return metadataBlock{}, err
	}
	if le.Uint16(head[:])&metadataPlain == 0 {
		var err error
		if m.d == nil {
			if m.d, err = newDecompressor(m.im.sb.compression); err != nil {
				return metadataBlock{}, err
			}
		}
		if data, err = m.d.decompress(make([]byte, 0, metadataSize), data); err != nil {
			return metadataBlock{}, fmt.Errorf("metadata block at byte %d: %w", pos, err)
		}
	}
	if m.keep > 0 && len(m.blocks) == m.keep {
		clear(m.blocks)
		m.total = 0
	}
	b := metadataBlock{data, next}
	m.blocks[pos] = b
	m.total += len(data)
	return b, nil
}

// take counts n bytes of records.
func (m *metadata) take(n int) error {
	if m.taken += n; m.taken > metadataLimit {
		return fmt.Errorf("records of more than %d bytes: %w", metadataLimit, ErrCorrupt)
	}
	return nil
}

// A cursor reads on across metadata blocks.
type cursor struct {
	m     *metadata
	block int64 // position in the image
	off   int   // in the block, decompressed
}

// at returns a cursor for a reference into the table that starts at table.
func (m *metadata) at(table int64, ref uint64) cursor {
	return cursor{m, table + int64(ref>>16), int(ref & 0xffff)}
}

// read returns the next n bytes.
func (c *cursor) read(n int) ([]byte, error) {
	if err := c.m.take(n); err != nil {
		return nil, err
	}
	var out []byte
	for {
		b, err := c.m.block(c.block)
		if err != nil {
			return nil, err
		}
		if c.off > len(b.data) || len(b.data) == 0 {
			return nil, fmt.Errorf("metadata block at byte %d has %d bytes; byte %d is wanted: %w", c.block, len(b.data), c.off, ErrCorrupt)
		}
		here := b.data[c.off:min(c.off+n, len(b.data))]
		if out == nil && len(here) == n { // the usual case
			c.off += n
			return here, nil
		}
		out = append(out, here...)
		if c.off, n = c.off+len(here), n-len(here); n == 0 {
			return out, nil
		}
		c.block, c.off = b.next, 0
	}
}

// lookup reads a table of count records of size bytes each, which stands in
// metadata blocks whose positions are listed at pos.
func (m *metadata) lookup(what string, pos int64, count, size int) ([]byte, error) {
	if count == 0 {
		return nil, nil
	}
	total := count * size
	rows := (total + metadataSize - 1) / metadataSize
	if pos < superblockSize || pos > m.im.sb.bytesUsed-int64(rows)*8 {
		return nil, fmt.Errorf("table of %s at byte %d: %w", what, pos, ErrCorrupt)
	}
	if err := m.take(total); err != nil {
		return nil, fmt.Errorf("table of %s: %w", what, err)
	}
	var table []byte
	list := make([]byte, min(rows, positionsPerRow)*8)
	for row := 0; row < rows; row++ {
		if i := row % positionsPerRow; i == 0 {
			list = list[:min(rows-row, positionsPerRow)*8]
			if err := readFull(m.im.r, list, pos+int64(row)*8); err != nil {
				return nil, err
			}
		}
		b, err := m.block(int64(le.Uint64(list[row%positionsPerRow*8:])))
		if err != nil {
			return nil, fmt.Errorf("table of %s: %w", what, err)
		}
		if want := min(metadataSize, total-len(table)); len(b.data) != want {
			return nil, fmt.Errorf("table of %s: block %d has %d bytes; want %d: %w", what, row, len(b.data), want, ErrCorrupt)
		}
		table = append(table, b.data...)
	}
	return table, nil
}
