package transfer

import (
	"io"
	"sort"
	"sync/atomic"

	"github.com/abupdate/abupdate/updater/delta"
	"github.com/abupdate/abupdate/verity"
)

// join returns the ranges to fetch for missing blocks.
func (p *Plan) join(missing []delta.Range) []delta.Range {
	ranges := (&delta.Plan{Missing: missing}).Fetch(p.opt.Gap/verity.BlockSize, p.opt.MaxRanges).Ranges
	if p.opt.Near {
		return ranges
	}
	return split(ranges, p.opt.MaxRanges)
}

// bytes is what comes of ranges for missing blocks.
func (p *Plan) bytes(ranges, missing []delta.Range) int64 {
	if p.opt.Near {
		return count(missing) * verity.BlockSize
	}
	return count(ranges) * verity.BlockSize
}

// leastPart is the smallest part that a range is split into, in blocks.
const leastPart = 1 << 20 / verity.BlockSize

// split cuts long ranges into equal parts, so that several connections share
// them, as far as no more than limit come out.
func split(ranges []delta.Range, limit int) []delta.Range {
	if len(ranges) == 0 {
		return nil
	}
	parts := func(size int64) (n int64) {
		for _, r := range ranges {
			n += (r.Blocks()-1)/size + 1
		}
		return n
	}
	low, high := int64(leastPart), max(leastPart, ranges[len(ranges)-1].End) // high splits nothing
	for low < high {
		if mid := (low + high) / 2; parts(mid) <= int64(limit) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	var out []delta.Range
	for _, r := range ranges {
		n := (r.Blocks()-1)/low + 1
		for i := range n {
			out = append(out, delta.Range{First: r.First + r.Blocks()*i/n, End: r.First + r.Blocks()*(i+1)/n})
		}
	}
	return out
}

// within returns what lies in a part of ranges that ascend.
func within(ranges []delta.Range, part delta.Range) []delta.Range {
	first := sort.Search(len(ranges), func(i int) bool { return ranges[i].End > part.First })
	end := sort.Search(len(ranges), func(i int) bool { return ranges[i].First >= part.End })
	found := append([]delta.Range(nil), ranges[first:end]...)
	if n := len(found) - 1; n >= 0 {
		found[0].First, found[n].End = max(found[0].First, part.First), min(found[n].End, part.End)
	}
	return found
}

// A counter counts what is read.
type counter struct {
	io.Reader
	n *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}
