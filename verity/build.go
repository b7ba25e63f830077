package verity

import (
	"errors"
	"fmt"
	"io"
)

// batchSize is how much data a Builder gathers before it hashes, in bytes.
const batchSize = 256 << 10

// A Builder makes the tree of an image that streams through it: Write takes
// everything from byte 4096 on, WriteFirst the first block, last. This is the
// order in which a squashfs is written. It holds 32 bytes per block of data
// (1/128 of the image) and one batch of 256 KiB.
type Builder struct {
	params Params
	leaves []byte // the first hash is WriteFirst's
	buf    []byte // data not yet hashed
	first  bool
	err    error
}

// NewBuilder returns a Builder for an image of unknown length.
func NewBuilder(p Params) *Builder {
	return &Builder{params: p, leaves: make([]byte, hashSize), err: p.validate()}
}

// Write implements io.Writer for the image from its second block on.
func (b *Builder) Write(p []byte) (int, error) {
	if b.err == nil && b.first {
		b.err = errors.New("hashing: data after the first block, which is the last to come")
	}
	if b.err != nil {
		return 0, b.err
	}
	n := len(p)
	for len(p) > 0 {
		if len(b.buf) == 0 && len(p) >= batchSize { // no need to gather
			c := len(p) / BlockSize * BlockSize
			b.hash(p[:c])
			p = p[c:]
			continue
		}
		if b.buf == nil {
			b.buf = make([]byte, 0, batchSize)
		}
		c := min(len(p), batchSize-len(b.buf))
		b.buf, p = append(b.buf, p[:c]...), p[c:]
		if len(b.buf) == batchSize {
			b.hash(b.buf)
			b.buf = b.buf[:0]
		}
	}
	return n, nil
}

func (b *Builder) hash(data []byte) {
	off := len(b.leaves)
	b.leaves = append(b.leaves, make([]byte, len(data)/BlockSize*hashSize)...)
	hashParallel(b.leaves[off:], data, b.params.Salt)
}

// WriteFirst takes the first block, once, after the last Write.
func (b *Builder) WriteFirst(block []byte) error {
	switch {
	case b.err != nil:
	case b.first:
		b.err = errors.New("hashing: the first block came twice")
	case len(block) != BlockSize:
		b.err = fmt.Errorf("hashing: first block has %d bytes; want %d", len(block), BlockSize)
	case len(b.buf)%BlockSize != 0:
		b.err = fmt.Errorf("hashing: image ends %d bytes into a block", len(b.buf)%BlockSize)
	default:
		b.first = true
		b.hash(b.buf)
		b.buf = nil
		hashBlocks(b.leaves[:hashSize], block, b.params.Salt)
	}
	return b.err
}

// Finish returns the tree. The Builder is of no further use.
func (b *Builder) Finish() (*Tree, error) {
	if b.err == nil && !b.first {
		b.err = errors.New("hashing: the first block never came")
	}
	if b.err != nil {
		return nil, b.err
	}
	b.err = errors.New("hashing: already finished")
	return newTree(b.params, b.leaves), nil
}

// Build makes the tree of an image of size bytes that r gives in its natural
// order.
func Build(r io.Reader, size int64, p Params) (*Tree, error) {
	if size <= 0 || size%BlockSize != 0 {
		return nil, fmt.Errorf("hashing: image of %d bytes is not a number of blocks", size)
	}
	first := make([]byte, BlockSize)
	if _, err := io.ReadFull(r, first); err != nil {
		return nil, fmt.Errorf("hashing: reading the first block: %w", err)
	}
	b := NewBuilder(p)
	n, err := io.Copy(b, io.LimitReader(r, size-BlockSize))
	if err != nil {
		return nil, fmt.Errorf("hashing: reading at byte %d: %w", BlockSize+n, err)
	}
	if n != size-BlockSize {
		return nil, fmt.Errorf("hashing: image ends at byte %d of %d: %w", BlockSize+n, size, io.ErrUnexpectedEOF)
	}
	if err := b.WriteFirst(first); err != nil {
		return nil, err
	}
	return b.Finish()
}
