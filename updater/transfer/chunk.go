package transfer

import (
	"bytes"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/updater/delta"
	"github.com/abupdate/abupdate/verity"
)

const (
	chunkBlocks = 64
	chunkBytes  = chunkBlocks * verity.BlockSize
	mostBlocks  = 256 // of a chunk; as much is written past the page cache
)

// kind says what is known of a block.
type kind byte

const (
	other  kind = iota // it comes from the remote
	stay               // stands where it belongs
	keep               // does so if its tree is right
	local              // stands elsewhere on the device, if the tree there is right
	repeat             // stands in the new image further ahead
	bad                // was not what it should be
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
	delta.Range
	ticket int64 // chunks are written in their order
	parts  []part
	room   *blockdev.Buffer
	buf    []byte // of room
	got    []byte // hashes
	want   []byte // the tree's, a window of them
	known  delta.Range
	kinds  [mostBlocks]kind
}

// newChunk makes one with room for so many blocks, at most mostBlocks. It is to
// be freed.
func newChunk(blocks int64) *chunk {
	room := blockdev.NewBuffer(int(blocks * verity.BlockSize))
	return &chunk{
		room: room, buf: room.Bytes(),
		got: make([]byte, blocks*verity.HashSize), want: make([]byte, windowBlocks*verity.HashSize),
	}
}

func (c *chunk) free() { c.room.Free() }

// most is how many blocks it has room for.
func (c *chunk) most() int64 { return int64(len(c.buf)) / verity.BlockSize }

// bytes returns the room of blocks.
func (c *chunk) bytes(r delta.Range) []byte {
	return c.buf[(r.First-c.First)*verity.BlockSize : (r.End-c.First)*verity.BlockSize]
}

// begin makes c a run of blocks of which nothing is known.
func (c *chunk) begin(r delta.Range) {
	c.Range, c.parts = r, c.parts[:0]
	clear(c.kinds[:])
}

func (c *chunk) add(p part) {
	c.parts = append(c.parts, p)
	for i := p.to.First; i < p.to.End; i++ {
		c.kinds[i-c.First] = p.kind
	}
}

// fill makes c the next of a plan's copies, and returns those that are left.
func (c *chunk) fill(copies []delta.Copy, blocks int64, kindOf func(delta.Copy) kind) []delta.Copy {
	first := max(copies[0].To.First, c.End)
	c.begin(delta.Range{First: first, End: min(first+chunkBlocks, blocks)})
	for len(copies) > 0 && copies[0].To.First < c.End {
		next := copies[0]
		to := delta.Range{First: max(next.To.First, c.First), End: min(next.To.End, c.End)}
		c.add(part{kind: kindOf(next), source: next.Source, from: next.From + to.First - next.To.First, to: to})
		if next.To.End > c.End {
			break
		}
		copies = copies[1:]
	}
	return copies
}

// windowBlocks is for how many blocks hashes are read from the tree: what it
// reads and checks at once.
const windowBlocks = 64 << 10 / verity.HashSize

// hash reads the hashes that the tree has, and makes those of blocks. Both are
// good until the next call.
func (c *chunk) hash(tree *verity.Tree, blocks delta.Range) (want, got []byte, err error) {
	if blocks.First < c.known.First || blocks.End > c.known.End {
		w := delta.Range{First: blocks.First / windowBlocks * windowBlocks}
		if blocks.End > w.First+windowBlocks {
			w.First = blocks.First
		}
		w.End = min(w.First+windowBlocks, tree.DataBlocks)
		c.known = delta.Range{}
		if err := tree.Hashes(c.want[:w.Blocks()*verity.HashSize], w.First); err != nil {
			return nil, nil, err
		}
		c.known = w
	}
	want = c.want[(blocks.First-c.known.First)*verity.HashSize:][:blocks.Blocks()*verity.HashSize]
	got = c.got[:len(want)]
	tree.HashBlocks(got, c.bytes(blocks))
	return want, got, nil
}

// check marks the blocks as bad that are not what the tree says.
func (c *chunk) check(tree *verity.Tree, blocks delta.Range) error {
	want, got, err := c.hash(tree, blocks)
	if err != nil || bytes.Equal(want, got) {
		return err
	}
	for i := range blocks.Blocks() {
		at := i * verity.HashSize
		if !bytes.Equal(want[at:at+verity.HashSize], got[at:at+verity.HashSize]) {
			c.kinds[blocks.First-c.First+i] = bad
		}
	}
	return nil
}

// run returns the end of the run of blocks of one kind from block i on. The
// first block of an image is a run of its own.
func (c *chunk) run(i int64) (kind, delta.Range) {
	k, end := c.kinds[i-c.First], i+1
	for end < c.End && c.kinds[end-c.First] == k && end > 1 {
		end++
	}
	return k, delta.Range{First: i, End: end}
}
