package delta

import (
	"cmp"
	"slices"
)

// A Range is the blocks from number First up to, not including, End.
type Range struct {
	First, End int64
}

// Blocks is the number of blocks.
func (r Range) Blocks() int64 { return r.End - r.First }

// Self is the Source of a Copy of blocks that the new image has further ahead.
const Self = -1

// A Copy is a run of blocks that need not be fetched.
type Copy struct {
	// Source is the place of the old image in the arguments of New, or Self.
	Source int
	From   int64 // the first block there
	To     Range // the blocks in the new image
}

// A Plan says where every block of a new image comes from: Missing and the To
// of Copies cover the image, and no block is in two of them.
type Plan struct {
	Blocks int64 // of the new image
	// Missing are the blocks to fetch, ascending; two ranges never touch.
	Missing []Range
	// Copies ascend too. Those from Self copy blocks from ahead of their own
	// place: an image that is written in order has them.
	Copies []Copy
}

func (p *Plan) copy(source int, from, to int64) {
	if n := len(p.Copies) - 1; n >= 0 {
		c := &p.Copies[n]
		if c.Source == source && c.To.End == to && c.From+c.To.Blocks() == from {
			c.To.End++
			return
		}
	}
	p.Copies = append(p.Copies, Copy{Source: source, From: from, To: Range{to, to + 1}})
}

// MissingBlocks is how many blocks are to be fetched.
func (p *Plan) MissingBlocks() int64 { return count(p.Missing) }

func count(ranges []Range) int64 {
	var n int64
	for _, r := range ranges {
		n += r.Blocks()
	}
	return n
}

// Fetch returns the ranges to ask a server for. Missing ranges are joined over
// gaps of up to gapBlocks; if that leaves more than limit, over the smallest
// gaps that are left until it does not. No limit is 0.
func (p *Plan) Fetch(gapBlocks int64, limit int) Fetch {
	type gap struct{ at, blocks int64 }
	var cuts []gap // before which missing range, and how wide
	for i := 1; i < len(p.Missing); i++ {
		if n := p.Missing[i].First - p.Missing[i-1].End; n > gapBlocks {
			cuts = append(cuts, gap{int64(i), n})
		}
	}
	if limit > 0 && len(cuts) > limit-1 {
		slices.SortStableFunc(cuts, func(a, b gap) int { return cmp.Compare(b.blocks, a.blocks) })
		cuts = cuts[:limit-1]
		slices.SortFunc(cuts, func(a, b gap) int { return cmp.Compare(a.at, b.at) })
	}
	var f Fetch
	for first := int64(0); first < int64(len(p.Missing)); {
		next := int64(len(p.Missing))
		if len(cuts) > 0 {
			next, cuts = cuts[0].at, cuts[1:]
		}
		f.Ranges = append(f.Ranges, Range{p.Missing[first].First, p.Missing[next-1].End})
		first = next
	}
	f.WasteBlocks = count(f.Ranges) - p.MissingBlocks()
	return f
}

// Fetch is what to ask a server for.
type Fetch struct {
	Ranges []Range
	// WasteBlocks are in the ranges and need not be: they fill the gaps.
	WasteBlocks int64
}

// Blocks is how many blocks the ranges have.
func (f Fetch) Blocks() int64 { return count(f.Ranges) }
