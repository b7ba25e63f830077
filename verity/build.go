package verity

import (
	"errors"
	"fmt"
)

// batchSize is how much data a Builder gathers before it hashes, in bytes.
const batchSize = 256 << 10

// A Builder makes the tree of an image that streams through it: Write takes
// everything from byte 4096 on, WriteFirst the first block, last. This is the
// order in which a squashfs is written. It holds one batch of 256 KiB; the 32
// bytes per block of data (1/128 of the image) go to its Store.
type Builder struct {
	params Params
	low    *lowWriter // the first hash is WriteFirst's
	memory *memory    // low's store, unless the caller has one
	buf    []byte     // data not yet hashed
	first  bool
	err    error
}

// NewBuilder returns a Builder for an image of unknown length that keeps the
// hashes in memory.
func NewBuilder(p Params) *Builder {
	m := new(memory)
	b := NewBuilderIn(p, m)
	b.memory = m
	return b
}

// NewBuilderIn returns a Builder that keeps the hashes in store, and so does
// the tree that it makes.
func NewBuilderIn(p Params, store Store) *Builder {
	return &Builder{params: p, low: newLowWriter(store, p.Salt), err: p.validate()}
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
			if b.err = b.hash(p[:batchSize]); b.err != nil {
				return n - len(p), b.err
			}
			p = p[batchSize:]
			continue
		}
		if b.buf == nil {
			b.buf = make([]byte, 0, batchSize)
		}
		c := min(len(p), batchSize-len(b.buf))
		b.buf, p = append(b.buf, p[:c]...), p[c:]
		if len(b.buf) == batchSize {
			if b.err = b.hash(b.buf); b.err != nil {
				return n - len(p), b.err
			}
			b.buf = b.buf[:0]
		}
	}
	return n, nil
}

// hash takes up to a batch of whole blocks.
func (b *Builder) hash(data []byte) error {
	hashes, err := b.low.grow(len(data) / BlockSize * hashSize)
	if err == nil {
		hashParallel(hashes, data, b.params.Salt)
	}
	return err
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
		if b.err = b.hash(b.buf); b.err == nil {
			sum := b.params.HashBlock(block)
			b.err = b.low.first(sum[:])
		}
		b.buf = nil
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
	l, err := b.low.finish()
	if err != nil {
		b.err = err
		return nil, err
	}
	if b.memory != nil && l.mem == nil {
		l = &low{mem: b.memory.b, size: l.size, above: l.above}
	}
	return newTree(b.params, l), nil
}
