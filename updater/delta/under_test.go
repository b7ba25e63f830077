package delta_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/updater/delta"
)

// under is of for an image that the new one is written over.
func under(letters string, gone delta.Range) delta.Source {
	src := of(letters)
	src.Under, src.Gone = true, gone
	return src
}

// overwrite carries a plan out in the place of the last old image, in order.
// Blocks that are gone read as '!'.
func overwrite(p *delta.Plan, image string, gone delta.Range, old ...string) (string, error) {
	last := len(old) - 1
	disk := []byte(old[last] + strings.Repeat("?", len(image)))
	for i := gone.First; i < min(gone.End, int64(len(old[last]))); i++ {
		disk[i] = '!'
	}
	for i := range p.Blocks {
		if c := copyTo(p, i); c == nil {
			disk[i] = image[i]
		} else if from := c.From + i - c.To.First; c.Source == last && from < i {
			return "", fmt.Errorf("block %d comes from %d, which is overwritten by then", i, from)
		} else if c.Source == last || c.Source == delta.Self {
			disk[i] = disk[from]
		} else {
			disk[i] = old[c.Source][from]
		}
	}
	return string(disk[:p.Blocks]), nil
}

func copyTo(p *delta.Plan, i int64) *delta.Copy {
	for k, c := range p.Copies {
		if c.To.First <= i && i < c.To.End {
			return &p.Copies[k]
		}
	}
	return nil
}

// leastFetched is how many different blocks can only be fetched: those whose
// first place nothing serves.
func leastFetched(image, under string, gone delta.Range, other string) int64 {
	var n int64
	for i, c := range image {
		if strings.IndexRune(image, c) < i || strings.ContainsRune(other, c) {
			continue
		}
		served := false
		for j, d := range under {
			served = served || d == c && j >= i && !(int64(j) >= gone.First && int64(j) < gone.End)
		}
		if !served {
			n++
		}
	}
	return n
}

// Every image of up to four blocks over every old one of up to four, beside
// every other of one block, with and without a part that is gone.
func TestEverySmallPlanOverAnotherImage(t *testing.T) {
	all := words("abc", 4)
	for _, image := range all {
		for _, old := range all {
			for _, other := range words("ab", 1) {
				for _, gone := range []delta.Range{{}, {First: int64(len(image)), End: int64(len(image)) + 1}} {
					p, err := delta.New(of(image), of(other), under(old, gone))
					if err != nil {
						t.Fatal(err)
					}
					got, err := overwrite(p, image, gone, other, old)
					if err != nil || got != image {
						t.Fatalf("%q over %q without %v beside %q makes %q, %v", image, old, gone, other, got, err)
					}
					if got, want := p.MissingBlocks(), leastFetched(image, old, gone, other); got != want {
						t.Fatalf("%q over %q without %v beside %q fetches %d; want %d", image, old, gone, other, got, want)
					}
				}
			}
		}
	}
}

func TestPlanOverAnotherImage(t *testing.T) {
	for _, tt := range []struct {
		name, image, other, old string
		want                    []delta.Copy
	}{
		{"equal blocks stay, whatever else has them", "abc", "abc", "xbx",
			[]delta.Copy{{0, 0, delta.Range{0, 1}}, {1, 1, delta.Range{1, 2}}, {0, 2, delta.Range{2, 3}}}},
		{"another source comes first", "ab", "b", "xab", []delta.Copy{{1, 1, delta.Range{0, 1}}, {0, 0, delta.Range{1, 2}}}},
		{"what moves back is read before it is overwritten", "bc", "", "abc", []delta.Copy{{1, 1, delta.Range{0, 2}}}},
		{"what moves on is overwritten", "xab", "", "ab", nil},
		{"a repeated block comes from its first place", "abca", "", "xxxabc",
			[]delta.Copy{{1, 3, delta.Range{0, 3}}, {1, 3, delta.Range{3, 4}}}},
		{"a repeated block whose old one is overwritten", "aaa", "", "xa",
			[]delta.Copy{{1, 1, delta.Range{0, 1}}, {1, 1, delta.Range{1, 2}}, {delta.Self, 0, delta.Range{2, 3}}}},
	} {
		p, err := delta.New(of(tt.image), of(tt.other), under(tt.old, delta.Range{}))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, p.Copies); diff != "" {
			t.Errorf("%s: Copies (-want +got):\n%s", tt.name, diff)
		}
	}
}
