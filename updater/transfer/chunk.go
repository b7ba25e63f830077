package transfer

import (
	"bytes"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/delta"
	"github.com/abupdate/abupdate/verity"
)

const (
	chunkBlocks = 64
	chunkBytes  = chunkBlocks * verity.BlockSize
)

// kind says where blocks come from.
type kind byte

const (
	leave  kind = iota // of no interest in this pass
	stay               // stand where they belong
	keep               // do so if their tree is right
	local              // another place on the device
	repeat             // the new image, further ahead
	remote
	bad // nowhere: what was found is not what it should be
)

// A part is a run of blocks of one kind within a chunk.
type part struct {
	kind   kind
	source int // for local
	from   int64
	to     delta.Range
}

// A chunk is a run of the image's blocks on their way.
type chunk struct {
	first  int64 // number of the first block
	blocks int64
	ticket int64 // chunks are written in their order
	parts  []part
	buf    []byte
	want   []byte // hashes of the tree
	got    []byte
	kinds  [chunkBlocks]kind
}

func newChunk() *chunk {
	return &chunk{
		buf:  make([]byte, chunkBytes),
		want: make([]byte, chunkBlocks*verity.HashSize), got: make([]byte, chunkBlocks*verity.HashSize),
	}
}

// bytes returns the room of blocks.
func (c *chunk) bytes(r delta.Range) []byte {
	return c.buf[(r.First-c.first)*verity.BlockSize : (r.End-c.first)*verity.BlockSize]
}

func (c *chunk) mark(r delta.Range, k kind) {
	for i := r.First; i < r.End; i++ {
		c.kinds[i-c.first] = k
	}
}

func (c *chunk) idle() bool {
	for _, p := range c.parts {
		if p.kind != leave && p.kind != stay {
			return false
		}
	}
	return true
}

// check hashes the blocks that were read and marks those as bad that are not
// what the tree says. A block that came from the remote must be right.
func (c *chunk) check(tree *verity.Tree) error {
	want := c.want[:c.blocks*verity.HashSize]
	if err := tree.Hashes(want, c.first); err != nil {
		return err
	}
	for _, p := range c.parts {
		if p.kind == leave || p.kind == stay || p.kind == repeat {
			continue
		}
		from, to := (p.to.First-c.first)*verity.HashSize, (p.to.End-c.first)*verity.HashSize
		tree.HashBlocks(c.got[from:to], c.bytes(p.to))
		if bytes.Equal(c.got[from:to], want[from:to]) {
			continue
		}
		for i := p.to.First; i < p.to.End; i++ {
			at := (i - c.first) * verity.HashSize
			got, want := c.got[at:at+verity.HashSize], want[at:at+verity.HashSize]
			if bytes.Equal(got, want) {
				continue
			}
			if p.kind == remote {
				return mismatch(i, got, want)
			}
			c.kinds[i-c.first] = bad
		}
	}
	return nil
}

func mismatch(block int64, got, want []byte) error {
	return fault.Errorf(fault.Verify, "block %d at byte %d, as it was fetched, has hash %x; the hash tree says %x: %w",
		block, block*verity.BlockSize, got[:8], want[:8], ErrMismatch)
}

// A cursor goes through a plan's blocks in order.
type cursor struct {
	missing []delta.Range
	copies  []delta.Copy
	at      int64
	blocks  int64
}

// next makes the parts of the next chunk, until there is none.
func (cur *cursor) next(c *chunk, kindOf func(delta.Copy) kind) bool {
	if cur.at >= cur.blocks {
		return false
	}
	c.first, c.blocks, c.parts = cur.at, min(chunkBlocks, cur.blocks-cur.at), c.parts[:0]
	for end := c.first + c.blocks; cur.at < end; {
		p := cur.part(kindOf)
		p.to.First, p.to.End = cur.at, min(p.to.End, end)
		c.parts = append(c.parts, p)
		c.mark(p.to, p.kind)
		cur.at = p.to.End
	}
	return true
}

// part returns the part that the block at the cursor begins or is in, to its
// end.
func (cur *cursor) part(kindOf func(delta.Copy) kind) part {
	for len(cur.missing) > 0 && cur.missing[0].End <= cur.at {
		cur.missing = cur.missing[1:]
	}
	for len(cur.copies) > 0 && cur.copies[0].To.End <= cur.at {
		cur.copies = cur.copies[1:]
	}
	p := part{to: delta.Range{End: cur.blocks}}
	if len(cur.missing) > 0 {
		m := cur.missing[0]
		if m.First <= cur.at {
			return part{kind: remote, to: m}
		}
		p.to.End = m.First
	}
	if len(cur.copies) > 0 {
		c := cur.copies[0]
		if c.To.First <= cur.at {
			return part{kind: kindOf(c), source: c.Source, from: c.From + cur.at - c.To.First, to: c.To}
		}
		p.to.End = min(p.to.End, c.To.First)
	}
	return p
}
