package delta_test

import (
	"math/bits"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/updater/delta"
)

func TestFetch(t *testing.T) {
	missing := []delta.Range{{0, 2}, {3, 4}, {8, 9}, {10, 20}, {22, 23}} // gaps of 1, 4, 1, 2
	for _, tt := range []struct {
		name  string
		gap   int64
		limit int
		want  delta.Fetch
	}{
		{"as they are", 0, 0, delta.Fetch{Ranges: missing}},
		{"over gaps of one block", 1, 0, delta.Fetch{Ranges: []delta.Range{{0, 4}, {8, 20}, {22, 23}}, WasteBlocks: 2}},
		{"over all gaps", 4, 0, delta.Fetch{Ranges: []delta.Range{{0, 23}}, WasteBlocks: 8}},
		{"a limit that is kept already", 1, 3, delta.Fetch{Ranges: []delta.Range{{0, 4}, {8, 20}, {22, 23}}, WasteBlocks: 2}},
		{"two at most", 0, 2, delta.Fetch{Ranges: []delta.Range{{0, 4}, {8, 23}}, WasteBlocks: 4}},
		{"four at most: the first of equal gaps stays", 0, 4, delta.Fetch{Ranges: []delta.Range{{0, 2}, {3, 4}, {8, 20}, {22, 23}}, WasteBlocks: 1}},
		{"one", 0, 1, delta.Fetch{Ranges: []delta.Range{{0, 23}}, WasteBlocks: 8}},
	} {
		p := &delta.Plan{Blocks: 30, Missing: missing}
		if diff := cmp.Diff(tt.want, p.Fetch(tt.gap, tt.limit)); diff != "" {
			t.Errorf("%s: Fetch(%d, %d) (-want +got):\n%s", tt.name, tt.gap, tt.limit, diff)
		}
	}
	if got := new(delta.Plan).Fetch(1, 1); got.Ranges != nil || got.WasteBlocks != 0 {
		t.Errorf("Fetch() of a plan that lacks nothing = %v; want nothing", got)
	}
}

// For every set of missing blocks of a small image: no other choice of gaps
// keeps the limit with less waste, every missing block is in a range, and no
// gap that is bridged is wider than asked for unless the limit wants it.
func TestFetchIsTheBest(t *testing.T) {
	const blocks = 11
	for set := range uint(1) << blocks {
		p := &delta.Plan{Blocks: blocks}
		for i := range int64(blocks) {
			if set>>i&1 == 0 {
				continue
			}
			if n := len(p.Missing) - 1; n >= 0 && p.Missing[n].End == i {
				p.Missing[n].End++
			} else {
				p.Missing = append(p.Missing, delta.Range{First: i, End: i + 1})
			}
		}
		for limit := range 5 {
			for gap := range int64(3) {
				f := p.Fetch(gap, limit)
				if limit > 0 && len(f.Ranges) > limit {
					t.Fatalf("%011b: Fetch(%d, %d) has %d ranges", set, gap, limit, len(f.Ranges))
				}
				var covered uint
				for _, r := range f.Ranges {
					covered |= 1<<r.End - 1<<r.First
				}
				if covered&set != set || f.Blocks() != int64(bits.OnesCount(covered)) || f.WasteBlocks != int64(bits.OnesCount(covered&^set)) {
					t.Fatalf("%011b: Fetch(%d, %d) = %v covers %011b", set, gap, limit, f, covered)
				}
				if want := leastWaste(p.Missing, gap, limit); f.WasteBlocks != want {
					t.Fatalf("%011b: Fetch(%d, %d) wastes %d; want %d", set, gap, limit, f.WasteBlocks, want)
				}
			}
		}
	}
}

// leastWaste tries every choice of gaps to bridge besides those that have to
// be.
func leastWaste(missing []delta.Range, gap int64, limit int) int64 {
	best := int64(-1)
	n := max(len(missing)-1, 0)
	for choice := range uint(1) << n {
		var waste int64
		ranges, ok := 1, true
		for i := range n {
			width := missing[i+1].First - missing[i].End
			if choice>>i&1 == 1 {
				waste += width
			} else {
				ranges++
				ok = ok && width > gap
			}
		}
		if ok && (limit == 0 || ranges <= limit) && (best < 0 || waste < best) {
			best = waste
		}
	}
	return best
}
