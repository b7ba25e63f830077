package delta

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"sort"
)

// An index finds old blocks by their hashes. Blocks of all sources are numbered
// through, in the order of the sources.
//
//	first 8 bytes of a hash: | bucket | fingerprint, 32 bits | not kept |
type index struct {
	sources []*leaves
	base    []uint32 // number of each source's first block
	shift   int      // of 64 bits, to get the bucket
	starts  []uint32 // bucket b has the entries from starts[b]
	ends    []uint32 // to ends[b]; the room up to the next start is unused
	entries []uint64 // fingerprint in the upper half, number in the lower
}

// blocksPerBucket keeps searches short and the two tables of buckets small.
const blocksPerBucket = 4

var errTooLarge = errors.New("images of more than 16 TiB")

func newIndex(sources []Source) (*index, error) {
	ix := new(index)
	var total int64
	for _, src := range sources {
		ix.sources, ix.base = append(ix.sources, newLeaves(src)), append(ix.base, uint32(total))
		if total += src.Blocks; src.Blocks < 0 || total > none {
			return nil, errTooLarge
		}
	}
	bucketBits := bits.Len64(uint64(total / blocksPerBucket))
	ix.shift = 64 - bucketBits
	ix.starts, ix.ends = make([]uint32, 1<<bucketBits), make([]uint32, 1<<bucketBits)
	ix.entries = make([]uint64, total)
	if err := ix.each(func(_ uint32, sum []byte) error { ix.ends[ix.bucket(sum)]++; return nil }); err != nil {
		return nil, err
	}
	var at uint32
	for b, n := range ix.ends {
		ix.starts[b], ix.ends[b] = at, at
		at += n
	}
	return ix, ix.each(ix.put)
}

// each calls do for every block. sum is good until the next block is read.
func (ix *index) each(do func(number uint32, sum []byte) error) error {
	for s, l := range ix.sources {
		for i := range l.src.Blocks {
			sum, err := l.at(i)
			if err != nil {
				return err
			}
			if err := do(ix.base[s]+uint32(i), sum); err != nil {
				return err
			}
		}
	}
	return nil
}

func prefix(sum []byte) uint64 { return binary.BigEndian.Uint64(sum) }

func (ix *index) bucket(sum []byte) uint64 { return prefix(sum) >> ix.shift }

// entry joins the bits of a hash behind those that name the bucket with a
// block's number.
func (ix *index) entry(sum []byte, number uint32) uint64 {
	fingerprint := prefix(sum) << (64 - ix.shift) >> 32
	return fingerprint<<32 | uint64(number)
}

// put enters a block unless an equal one is there.
func (ix *index) put(number uint32, sum []byte) error {
	var own [hashSize]byte // find may move the window that sum is in
	copy(own[:], sum)
	if found, err := ix.find(own[:]); err != nil || found != none {
		return err
	}
	b := ix.bucket(own[:])
	ix.entries[ix.ends[b]] = ix.entry(own[:], number)
	ix.ends[b]++
	return nil
}

// none is the number of no block.
const none = math.MaxUint32

// find returns the number of the block with the hash sum, or none.
func (ix *index) find(sum []byte) (uint32, error) {
	b := ix.bucket(sum)
	want := ix.entry(sum, 0)
	for _, e := range ix.entries[ix.starts[b]:ix.ends[b]] {
		if e&^none != want {
			continue
		}
		if ok, err := ix.is(uint32(e), sum); ok || err != nil {
			return uint32(e), err
		}
	}
	return none, nil
}

// is says whether a block has the hash sum.
func (ix *index) is(number uint32, sum []byte) (bool, error) {
	s, i := ix.place(number)
	return ix.sources[s].is(i, sum)
}

// place returns the source of a block, and its number there.
func (ix *index) place(number uint32) (source int, i int64) {
	s := sort.Search(len(ix.base), func(s int) bool { return ix.base[s] > number }) - 1
	return s, int64(number - ix.base[s])
}
