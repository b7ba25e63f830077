package delta

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
)

// An index finds the blocks of the new image by their hashes. Of equal blocks
// it has the first.
//
//	first 8 bytes of a hash: | bucket | fingerprint, 32 bits | not kept |
type index struct {
	image   *leaves  // to compare whole hashes
	shift   int      // of 64 bits, to get the bucket
	starts  []uint32 // bucket b has the entries from starts[b] to starts[b+1]
	entries []uint64 // fingerprint in the upper half, number in the lower; none behind a bucket's last
}

// blocksPerBucket keeps searches short and the table of buckets small.
const blocksPerBucket = 4

var errTooLarge = errors.New("images of more than 16 TiB")

// none is the number of no block.
const none = math.MaxUint32

// newIndex makes room for the blocks of an image.
func newIndex(image Source) (*index, error) {
	bucketBits := bits.Len64(uint64(image.Blocks / blocksPerBucket))
	ix := &index{
		image: newLeaves(image, probeHashes), shift: 64 - bucketBits,
		starts: make([]uint32, 1<<bucketBits+1), entries: make([]uint64, image.Blocks),
	}
	all := newLeaves(image, windowHashes)
	for i := range image.Blocks {
		sum, err := all.at(i)
		if err != nil {
			return nil, err
		}
		ix.starts[ix.bucket(sum)+1]++
	}
	for b := range ix.starts[1:] {
		ix.starts[b+1] += ix.starts[b]
	}
	for i := range ix.entries {
		ix.entries[i] = none
	}
	return ix, nil
}

func prefix(sum []byte) uint64 { return binary.BigEndian.Uint64(sum) }

func (ix *index) bucket(sum []byte) uint64 { return prefix(sum) >> ix.shift }

// entry joins the bits of a hash behind those that name the bucket with a
// block's number.
func (ix *index) entry(sum []byte, number uint32) uint64 {
	fingerprint := prefix(sum) << (64 - ix.shift) >> 32
	return fingerprint<<32 | uint64(number)
}

// find returns the number of the block with the hash sum, or none, and the
// entry where it would be put.
func (ix *index) find(sum []byte) (number, room uint32, err error) {
	b := ix.bucket(sum)
	want := ix.entry(sum, 0)
	for at := ix.starts[b]; at < ix.starts[b+1]; at++ {
		e := ix.entries[at]
		if uint32(e) == none {
			return none, at, nil
		}
		if e&^none != want {
			continue
		}
		if ok, err := ix.image.is(int64(uint32(e)), sum); ok || err != nil {
			return uint32(e), at, err
		}
	}
	return none, none, nil
}

// put enters a block unless an equal one is there, whose number it returns.
func (ix *index) put(number uint32, sum []byte) (equal uint32, err error) {
	equal, room, err := ix.find(sum)
	if err == nil && equal == none {
		ix.entries[room] = ix.entry(sum, number)
	}
	return equal, err
}
