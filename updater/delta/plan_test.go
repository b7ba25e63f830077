package delta_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/updater/delta"
	"github.com/abupdate/abupdate/verity"
)

// salt is that of every image unless a test says otherwise.
var salt = []byte("salt")

// of makes an image of one block for each letter. The hashes of upper-case
// letters begin alike: only their last byte tells them apart.
func of(letters string) delta.Source {
	var sums []byte
	for _, c := range []byte(letters) {
		sum := sha256.Sum256([]byte{c})
		if 'A' <= c && c <= 'Z' {
			clear(sum[:])
			sum[31] = c
		}
		sums = append(sums, sum[:]...)
	}
	return delta.Source{Salt: salt, Blocks: int64(len(letters)), Hashes: func(p []byte, first int64) error {
		if copy(p, sums[first*32:]) != len(p) {
			return fmt.Errorf("%d hashes from %d on of %d", len(p)/32, first, len(letters))
		}
		return nil
	}}
}

// assemble carries a plan out: it returns the image made of what is fetched
// and copied, how many blocks were fetched, and what is wrong with the plan.
func assemble(p *delta.Plan, image string, old ...string) (made string, fetched int, err error) {
	b := bytes.Repeat([]byte{0}, int(p.Blocks))
	last := int64(-1)
	for _, r := range p.Missing {
		if r.First <= last || r.End <= r.First {
			return "", 0, fmt.Errorf("missing ranges %v touch or are empty", p.Missing)
		}
		fetched += copy(b[r.First:r.End], image[r.First:r.End])
		last = r.End
	}
	last = -1
	for _, c := range p.Copies {
		if c.To.First <= last-1 || c.To.End <= c.To.First {
			return "", 0, fmt.Errorf("copies %v are not ascending", p.Copies)
		}
		last = c.To.End
		for k := range c.To.Blocks() {
			to := c.To.First + k
			if b[to] != 0 {
				return "", 0, fmt.Errorf("block %d comes from two places", to)
			}
			if c.Source != delta.Self {
				b[to] = old[c.Source][c.From+k]
				continue
			}
			if c.From+k >= to || b[c.From+k] == 0 {
				return "", 0, fmt.Errorf("block %d is copied from %d, which is not there yet", to, c.From+k)
			}
			b[to] = image[c.From+k]
		}
	}
	return string(b), fetched, nil
}

// needed is how many different letters of image stand in none of old.
func needed(image string, old ...string) int {
	var have [256]bool
	for _, c := range []byte(strings.Join(old, "")) {
		have[c] = true
	}
	n := 0
	for _, c := range []byte(image) {
		if !have[c] {
			have[c] = true
			n++
		}
	}
	return n
}

func check(t *testing.T, image string, old ...string) *delta.Plan {
	t.Helper()
	var sources []delta.Source
	for _, o := range old {
		sources = append(sources, of(o))
	}
	p, err := delta.New(of(image), sources...)
	if err != nil {
		t.Fatalf("New(%.99q, %.99q): %v", image, old, err)
	}
	made, fetched, err := assemble(p, image, old...)
	if err != nil {
		t.Fatalf("New(%.99q, %.99q): %v", image, old, err)
	}
	if made != image {
		t.Fatalf("New(%.99q, %.99q) makes %.99q", image, old, made)
	}
	if want := needed(image, old...); fetched != want || p.MissingBlocks() != int64(want) {
		t.Fatalf("New(%.99q, %.99q) fetches %d blocks, counts %d; want %d", image, old, fetched, p.MissingBlocks(), want)
	}
	return p
}

// Every image of up to four blocks against every pair of old ones of up to two,
// with hashes that differ at once and at the end only.
func TestEverySmallPlan(t *testing.T) {
	for _, alphabet := range []string{"abc", "ABC", "aAB"} {
		for _, image := range words(alphabet, 4) {
			for _, one := range words(alphabet, 2) {
				for _, two := range words(alphabet, 2) {
					check(t, image, one, two)
				}
			}
		}
	}
}

// words are all strings of up to n letters.
func words(alphabet string, n int) []string {
	all := []string{""}
	for from := 0; n > 0; n-- {
		end := len(all)
		for _, w := range all[from:end] {
			for _, c := range alphabet {
				all = append(all, w+string(c))
			}
		}
		from = end
	}
	return all
}

func TestPlan(t *testing.T) {
	for _, tt := range []struct {
		name    string
		image   string
		old     []string
		missing []delta.Range
		copies  []delta.Copy
	}{
		{"nothing old", "abc", nil, []delta.Range{{0, 3}}, nil},
		{"the same", "abc", []string{"abc"}, nil, []delta.Copy{{0, 0, delta.Range{0, 3}}}},
		{"moved by one", "xabc", []string{"abc"}, []delta.Range{{0, 1}}, []delta.Copy{{0, 0, delta.Range{1, 4}}}},
		{"a run goes on where a block is in two places", "abac", []string{"abxac"}, nil,
			[]delta.Copy{{0, 0, delta.Range{0, 2}}, {0, 0, delta.Range{2, 3}}, {0, 4, delta.Range{3, 4}}}},
		{"a run goes on behind an earlier equal block", "xya", []string{"abxya"}, nil, []delta.Copy{{0, 2, delta.Range{0, 3}}}},
		{"the first source comes first", "a", []string{"b", "a", "a"}, nil, []delta.Copy{{1, 0, delta.Range{0, 1}}}},
		{"fetched once", "aba", []string{"b"}, []delta.Range{{0, 1}},
			[]delta.Copy{{0, 0, delta.Range{1, 2}}, {delta.Self, 0, delta.Range{2, 3}}}},
	} {
		p := check(t, tt.image, tt.old...)
		if diff := cmp.Diff(tt.missing, p.Missing); diff != "" {
			t.Errorf("%s: Missing (-want +got):\n%s", tt.name, diff)
		}
		if diff := cmp.Diff(tt.copies, p.Copies); diff != "" {
			t.Errorf("%s: Copies (-want +got):\n%s", tt.name, diff)
		}
	}
}

// Blocks of several windows and buckets.
func TestLargerPlans(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		check(t, random(rng, 3000), random(rng, 3000), random(rng, 1000))
	}
}

// random is a word with repetitions and runs from a common text.
func random(rng *rand.Rand, n int) string {
	var b []byte
	for len(b) < n*2/3 {
		first, run := rng.IntN(200), 1+rng.IntN(50)
		for c := first; c < min(first+run, 255); c++ {
			b = append(b, byte(c+1))
		}
	}
	return string(b[:rng.IntN(len(b)+1)])
}

func TestOtherSaltIsNoUse(t *testing.T) {
	old := of("abc")
	old.Salt = []byte("pepper")
	p, err := delta.New(of("abc"), old, of("c"))
	if err != nil {
		t.Fatal(err)
	}
	want := &delta.Plan{Blocks: 3, Missing: []delta.Range{{0, 2}}, Copies: []delta.Copy{{1, 0, delta.Range{2, 3}}}}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("New() with a source of another salt (-want +got):\n%s", diff)
	}
}

// A tree that cannot be read fails the plan, wherever it fails.
func TestReadErrors(t *testing.T) {
	broken := errors.New("broken")
	for fail := range 6 {
		n := 0
		failing := func(s delta.Source) delta.Source {
			read := s.Hashes
			s.Hashes = func(p []byte, first int64) error {
				if n++; n == fail+1 {
					return broken
				}
				return read(p, first)
			}
			return s
		}
		long := strings.Repeat("ab", 1500)
		if _, err := delta.New(failing(of(long+"x")), failing(of(long))); !errors.Is(err, broken) {
			t.Errorf("reading hashes fails at read %d: New() = %v; want that error", fail+1, err)
		}
	}
	if _, err := delta.New(of(""), delta.Source{Salt: salt, Blocks: 1 << 32}); err == nil {
		t.Error("New() with an image of 2^32 blocks: no error")
	}
	if _, err := delta.New(delta.Source{Salt: salt, Blocks: 1 << 32}); err == nil {
		t.Error("New() of an image of 2^32 blocks: no error")
	}
}

func TestOf(t *testing.T) {
	image := bytes.Repeat([]byte("0123456789abcdef"), 3*verity.BlockSize/16)
	image[verity.BlockSize] = 'x'
	tree, err := verity.Build(bytes.NewReader(image), int64(len(image)), verity.DefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	p, err := delta.New(delta.Of(tree))
	if err != nil {
		t.Fatal(err)
	}
	want := &delta.Plan{Blocks: 3, Missing: []delta.Range{{0, 2}}, Copies: []delta.Copy{{delta.Self, 0, delta.Range{2, 3}}}}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("plan of a tree (-want +got):\n%s", diff)
	}
}

// wide is an image whose hashes are made up when they are asked for.
func wide(seed uint64, blocks int64) delta.Source {
	return delta.Source{Salt: salt, Blocks: blocks, Hashes: func(p []byte, first int64) error {
		for i := range len(p) / 32 {
			x := (uint64(first)+uint64(i))*0x9e3779b97f4a7c15 ^ seed
			for k := range 4 {
				x ^= x >> 30
				x *= 0xbf58476d1ce4e5b9
				x ^= x >> 27
				for j := range 8 {
					p[i*32+k*8+j] = byte(x >> (56 - 8*j))
				}
			}
		}
		return nil
	}}
}

// Images of 3 GiB that have nothing in common: what doc.go says of memory.
func TestMemory(t *testing.T) {
	const blocks = 3 << 30 / verity.BlockSize
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	p, err := delta.New(wide(1, blocks), wide(2, blocks), wide(3, blocks), wide(4, 2*blocks))
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if p.MissingBlocks() != blocks {
		t.Errorf("%d blocks are missing; want all %d", p.MissingBlocks(), blocks)
	}
	// Allocated in all: 13 bytes a block, and the windows.
	if got := after.TotalAlloc - before.TotalAlloc; got > 11<<20 {
		t.Errorf("allocated %d MiB; want at most 11", got>>20)
	}
}

func FuzzPlan(f *testing.F) {
	f.Add("abcab", "cab", "x")
	f.Add("", "", "")
	f.Add("AAAB", "BA", "")
	f.Fuzz(func(t *testing.T, image, one, two string) {
		if strings.ContainsRune(image+one+two, 0) {
			return // assemble's mark for nothing
		}
		check(t, image, one, two)
	})
}

func BenchmarkNew(b *testing.B) {
	const blocks = 3 << 30 / verity.BlockSize
	for _, bb := range []struct {
		name string
		old  uint64
	}{{"nothing in common", 2}, {"the same", 1}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := delta.New(wide(1, blocks), wide(bb.old, blocks)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
