package transfer_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/updater/delta"
	"github.com/abupdate/abupdate/updater/transfer"
)

// ranges makes ranges of their ends.
func ranges(ends ...int64) (list []delta.Range) {
	for i := 0; i < len(ends); i += 2 {
		list = append(list, delta.Range{First: ends[i], End: ends[i+1]})
	}
	return list
}

func TestSplit(t *testing.T) {
	const m = transfer.LeastPart
	for _, tt := range []struct {
		name   string
		ranges []delta.Range
		limit  int
		want   []delta.Range
	}{
		{"nothing", nil, 10, nil},
		{"short ones stay", ranges(0, 3, 5, m), 10, ranges(0, 3, 5, m)},
		{"a long one", ranges(8, 8+4*m), 10, ranges(8, 8+m, 8+m, 8+2*m, 8+2*m, 8+3*m, 8+3*m, 8+4*m)},
		{"parts are of equal length", ranges(0, m+2), 10, ranges(0, m/2+1, m/2+1, m+2)},
		{"no more than the limit", ranges(0, 6*m, 7*m, 7*m+1), 3, ranges(0, 3*m, 3*m, 6*m, 7*m, 7*m+1)},
		{"at the limit", ranges(0, 6*m, 7*m, 8*m), 2, ranges(0, 6*m, 7*m, 8*m)},
		{"beyond the limit", ranges(0, 6*m, 7*m, 8*m), 1, ranges(0, 6*m, 7*m, 8*m)},
	} {
		if diff := cmp.Diff(tt.want, transfer.Split(tt.ranges, tt.limit)); diff != "" {
			t.Errorf("%s: split(%v, %d) (-want +got):\n%s", tt.name, tt.ranges, tt.limit, diff)
		}
	}
}

func TestWithin(t *testing.T) {
	list := ranges(2, 4, 6, 7, 9, 12)
	for first := range int64(14) {
		for end := first; end < 14; end++ {
			var want, got []int64
			for _, r := range list {
				for i := max(r.First, first); i < min(r.End, end); i++ {
					want = append(want, i)
				}
			}
			for _, r := range transfer.Within(list, delta.Range{First: first, End: end}) {
				for i := r.First; i < r.End; i++ {
					got = append(got, i)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("within(%v, %d to %d) (-want +got):\n%s", list, first, end, diff)
			}
		}
	}
}
