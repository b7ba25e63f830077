package transfer_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/transfer"
)

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name       string
		image      string
		a, old     string // in the other slot; in the slot that is written
		unfinished string // instead of old, from an interrupted transfer
		near       bool
		gap        int64
		want       transfer.Figures // in blocks
	}{
		{name: "nothing is there", image: "abcdef", want: transfer.Figures{Fetched: 6, Ranges: 1}},
		{name: "nothing is there, a repeated block", image: "abcabx", want: transfer.Figures{Copied: 2, Fetched: 4, Ranges: 2}},
		{name: "one block", image: "a", want: transfer.Figures{Fetched: 1, Ranges: 1}},
		{name: "all is there", image: "abcdef", a: "xabcdefx", want: transfer.Figures{Copied: 6}},
		{name: "a block is new", image: "abcxef", a: "abcdef", want: transfer.Figures{Copied: 5, Fetched: 1, Ranges: 1}},
		{name: "two blocks are, over a gap", image: "abxcyf", a: "abcdef", gap: block, want: transfer.Figures{Copied: 4, Fetched: 3, Ranges: 1}},
		{name: "two blocks are, of a file", image: "abxcyf", a: "abcdef", gap: block, near: true, want: transfer.Figures{Copied: 4, Fetched: 2, Ranges: 1}},
		{name: "the slot has the same image", image: "abcdef", old: "abcdef", want: transfer.Figures{Kept: 6}},
		{name: "the slot has it moved back, to where the new tree goes", image: "abcdef", old: "xxabcdef", want: transfer.Figures{Copied: 4, Fetched: 2, Ranges: 1}},
		{name: "the slot has it moved on", image: "xabcdef", old: "abcdef", want: transfer.Figures{Fetched: 7, Ranges: 1}},
		{name: "the old image goes on behind the new tree", image: "abc", old: "xbxcaaaaaaaa", want: transfer.Figures{Kept: 1, Copied: 1, Fetched: 1, Ranges: 1}},
		{name: "only where the new tree goes", image: "ab", old: "xxab", want: transfer.Figures{Fetched: 2, Ranges: 1}},
		{name: "both slots have something", image: "abcdef", a: "ab", old: "xbcxxd", want: transfer.Figures{Copied: 2, Kept: 2, Fetched: 2, Ranges: 1}},
		{name: "interrupted at once", image: "abcdef", unfinished: "??????", want: transfer.Figures{Fetched: 6, Ranges: 1}},
		{name: "interrupted in the middle", image: "abcdef", unfinished: "?bc???", want: transfer.Figures{Kept: 2, Fetched: 4, Ranges: 2}},
		{name: "interrupted at the first block", image: "abcdef", unfinished: "?bcdef", want: transfer.Figures{Kept: 5, Fetched: 1, Ranges: 1}},
		{name: "interrupted at the end", image: "abcdef", unfinished: "abcdef", want: transfer.Figures{Kept: 6}},
		{name: "interrupted, and the old image still has some", image: "abcdef", unfinished: "?b?dce", want: transfer.Figures{Kept: 2, Copied: 2, Fetched: 2, Ranges: 2}},
		{name: "a repeat of what stays", image: "abcbbe", unfinished: "?bc???", want: transfer.Figures{Kept: 2, Copied: 2, Fetched: 2, Ranges: 2}},
		{name: "a repeat of the first block", image: "abcaae", want: transfer.Figures{Copied: 2, Fetched: 4, Ranges: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := image(tt.image)
			dev := slot(image(tt.old+tt.unfinished), 20)
			target := transfer.Target{Scan: tt.unfinished != ""}
			if tt.old != "" {
				target.Tree = tree(t, image(tt.old))
			}
			if tt.old != "" && len(tt.old) > len(tt.image) { // as the slot writer does
				tr := tree(t, img)
				if _, err := tr.WriteTo(io.NewOffsetWriter(dev, int64(len(img)))); err != nil {
					t.Fatal(err)
				}
			}
			var from []transfer.Source
			if tt.a != "" {
				from = append(from, source(t, image(tt.a)))
			}
			srv := &server{content: img}
			opt := transfer.Options{Gap: tt.gap, Near: tt.near}
			got, err := run(t, img, dev, target, srv, opt, from...)
			if err != nil {
				t.Fatal(err)
			}
			got.Copied, got.Kept, got.Fetched = got.Copied/block, got.Kept/block, got.Fetched/block
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Run() (-want +got):\n%s", diff)
			}
			if srv.bytes != got.Fetched*block {
				t.Errorf("the server gave %d bytes; Run() says %d", srv.bytes, got.Fetched*block)
			}
			holds(t, dev, img)
		})
	}
}

// letters is a random image of n blocks, with repetitions and runs.
func letters(rng *rand.Rand, n int) string {
	var b []byte
	for len(b) < n {
		first, run := rng.IntN(250), 1+rng.IntN(60)
		for c := first; c < min(first+run, 250); c++ {
			b = append(b, byte(c+1))
		}
	}
	return string(b[:n])
}

// Images of several chunks, whatever is where: the slot holds the image in the
// end, and what is fetched is what the plan said.
func TestRandomRuns(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		img, old, a := image(letters(rng, 1+rng.IntN(400))), image(letters(rng, 1+rng.IntN(500))), image(letters(rng, 1+rng.IntN(200)))
		dev := slot(old, 600)
		target := transfer.Target{Image: dev}
		if i%3 == 0 {
			target.Scan = true
		} else if i%3 == 1 {
			target.Tree = tree(t, old)
		}
		opt := transfer.Options{Gap: int64(rng.IntN(3) * block), MaxRanges: 1 + rng.IntN(9), InFlight: 1 + rng.IntN(5), Near: i%5 == 0}
		tr := tree(t, img)
		p, err := transfer.New(t.Context(), tr, target, []transfer.Source{source(t, a)}, opt)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.WriteTo(io.NewOffsetWriter(dev, int64(len(img)))); err != nil {
			t.Fatal(err)
		}
		var last transfer.Progress
		srv := &server{content: img}
		got, err := p.Run(t.Context(), srv, &sink{dev: dev}, func(p transfer.Progress) {
			if p.Done < last.Done || p.Fetched < last.Fetched {
				t.Errorf("run %d: progress %+v after %+v", i, p, last)
			}
			last = p
		})
		if err != nil {
			t.Fatalf("run %d: %v", i, err)
		}
		if diff := cmp.Diff(p.Figures(), got); diff != "" {
			t.Errorf("run %d: Run() differs from Figures() (-plan +done):\n%s", i, diff)
		}
		if got.Ranges > opt.MaxRanges || srv.ranges > opt.MaxRanges && !opt.Near || srv.bytes != got.Fetched || srv.most > max(opt.InFlight, 5) {
			t.Errorf("run %d: %d ranges of at most %d, %d at a time of at most %d, %d bytes", i, srv.ranges, opt.MaxRanges, srv.most, opt.InFlight, srv.bytes)
		}
		if last.Done != int64(len(img)) || last.ToFetch != got.Fetched {
			t.Errorf("run %d: the last progress is %+v of an image of %d bytes", i, last, len(img))
		}
		holds(t, dev, img)
	}
}

// What the trees of this device promise need not be there.
func TestDamagedSources(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	img := image(letters(rng, 300))
	for _, tt := range []struct {
		name    string
		near    bool
		a, old  bool
		damaged func(block int) bool
		least   int64 // blocks fetched
		most    int64 // so many, as repeated blocks whose first one is damaged are fetched too
	}{
		{"nothing", false, true, false, func(int) bool { return false }, 0, 0},
		{"the first block", false, true, false, func(b int) bool { return b == 0 }, 1, 40},
		{"every tenth block, joined", false, true, false, func(b int) bool { return b%10 == 0 }, 30, 300},
		{"every tenth block, of a file", true, true, false, func(b int) bool { return b%10 == 0 }, 30, 60},
		{"a run, in the slot itself", false, false, true, func(b int) bool { return 50 <= b && b < 70 }, 20, 60},
		{"all", false, true, false, func(int) bool { return true }, 300, 300},
	} {
		t.Run(tt.name, func(t *testing.T) {
			broken := append([]byte(nil), img...)
			for b := range len(img) / block {
				if tt.damaged(b) {
					broken[b*block+b]++
				}
			}
			dev, target := slot(nil, 320), transfer.Target{}
			var from []transfer.Source
			if tt.a {
				from = append(from, transfer.Source{Image: blockdev.NewMemory(broken), Tree: tree(t, img)})
			}
			if tt.old {
				dev, target.Tree = slot(broken, 320), tree(t, img)
			}
			var said string
			srv := &server{content: img}
			opt := transfer.Options{MaxRanges: 8, Near: tt.near, Say: func(note string) { said = note }}
			got, err := run(t, img, dev, target, srv, opt, from...)
			if err != nil {
				t.Fatal(err)
			}
			holds(t, dev, img)
			if strings.Contains(said, "they are fetched") != (tt.most > 0) {
				t.Errorf("said %q, with %d blocks damaged", said, tt.least)
			}
			if n := got.Fetched / block; n < tt.least || n > tt.most || got.Ranges > opt.MaxRanges {
				t.Errorf("fetched %d blocks in %d ranges; want %d to %d in at most %d", n, got.Ranges, tt.least, tt.most, opt.MaxRanges)
			}
		})
	}
}

// A slot that fails to be written ends the transfer with its error.
func TestSinkFails(t *testing.T) {
	img := image(letters(rand.New(rand.NewPCG(5, 6)), 300))
	full := errors.New("disk full")
	for _, left := range []int64{0, block, 100 * block, 298 * block} {
		dev := slot(nil, 310)
		p, err := transfer.New(t.Context(), tree(t, img), transfer.Target{Image: dev}, nil, transfer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Run(t.Context(), &server{content: img}, &sink{dev: dev, fail: full, left: left}, nil); !errors.Is(err, full) {
			t.Errorf("Run() to a sink with room for %d bytes = %v; want its error", left, err)
		}
	}
}

// Without its last word a transfer does not end well: the context's cause is
// the error, and everything is let go.
func TestCanceled(t *testing.T) {
	img := image(letters(rand.New(rand.NewPCG(7, 8)), 300))
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := fault.Errorf(fault.Canceled, "enough")
	dev := slot(nil, 310)
	p, err := transfer.New(ctx, tree(t, img), transfer.Target{Image: dev}, nil, transfer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	srv := &server{content: img, reader: stalling(100 * block)}
	done := func(off, n int64) {
		if off+n >= 64*block {
			cancel(stop)
		}
	}
	if _, err := p.Run(ctx, srv, &sink{dev: dev, after: done}, nil); !errors.Is(err, stop) {
		t.Errorf("Run() = %v; want the cause", err)
	}
	if _, err := transfer.New(ctx, tree(t, img), transfer.Target{Image: dev, Scan: true}, nil, transfer.Options{}); !errors.Is(err, stop) {
		t.Errorf("New() that reads a slot = %v; want the cause", err)
	}
}

// stalling stops each body at a place of the content until it is given up.
func stalling(at int64) func(ctx context.Context, off int64, r io.Reader) io.Reader {
	return func(ctx context.Context, off int64, r io.Reader) io.Reader {
		return io.MultiReader(io.LimitReader(r, max(at-off, 0)), readerFunc(func([]byte) (int, error) {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}))
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Killed when half of the bytes are fetched, the second transfer fetches what
// is left: at most 52 % of all.
func TestResume(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	old := image(letters(rng, 12000))
	img := upgraded(old)
	for _, tt := range []struct {
		name     string
		noRanges bool
	}{{"ranges", false}, {"one stream", true}} {
		t.Run(tt.name, func(t *testing.T) {
			all := fetchedBy(t, img, old, slot(nil, 13000), transfer.Target{}, 0, tt.noRanges)
			if all < 2000*block {
				t.Fatalf("an uninterrupted transfer fetches %d bytes: too few to prove anything", all)
			}
			dev := slot(nil, 13000)
			fetchedBy(t, img, old, dev, transfer.Target{}, all/2, tt.noRanges)
			rest := fetchedBy(t, img, old, dev, transfer.Target{Scan: true}, 0, tt.noRanges)
			holds(t, dev, img)
			t.Logf("%d bytes, then %d: %.1f %%", all/2, rest, float64(rest)/float64(all)*100)
			if !tt.noRanges && rest*100 > all*52 {
				t.Errorf("the second transfer fetches %d bytes of %d: more than 52 %%", rest, all)
			}
		})
	}
}

// upgraded is an image of which other runs of blocks than in old are new.
func upgraded(old []byte) []byte {
	rng := rand.New(rand.NewPCG(11, 12))
	var b []byte
	for len(b) < len(old) {
		if n := (1 + rng.IntN(40)) * block; rng.IntN(10) < 7 {
			from := rng.IntN(len(old)-n) / block * block
			b = append(b, old[from:from+n]...)
		} else {
			b = append(b, make([]byte, n)...)
			rand.NewChaCha8([32]byte{1, byte(len(b) >> 12), byte(len(b) >> 20)}).Read(b[len(b)-n:])
		}
	}
	return b
}

// fetchedBy runs a transfer beside a slot with old, killed when so many bytes
// are fetched, and returns what the server gave.
func fetchedBy(t *testing.T, img, old []byte, dev blockdev.Device, target transfer.Target, kill int64, noRanges bool) int64 {
	t.Helper()
	target.Image = dev
	srv := &server{content: img, noRanges: noRanges}
	opt := transfer.Options{Gap: 16 << 10, NoRanges: errNoRanges, Whole: srv.whole}
	p, err := transfer.New(t.Context(), tree(t, img), target, []transfer.Source{source(t, old)}, opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	srv.reader = func(_ context.Context, _ int64, r io.Reader) io.Reader {
		return readerFunc(func(p []byte) (int, error) {
			srv.mu.Lock()
			now := srv.bytes
			srv.mu.Unlock()
			if kill > 0 && now >= kill {
				cancel()
				return 0, context.Canceled
			}
			return r.Read(p[:min(len(p), block)])
		})
	}
	if _, err := p.Run(ctx, srv, &sink{dev: dev}, nil); (err != nil) != (kill > 0) {
		t.Fatalf("Run() = %v", err)
	}
	return srv.bytes
}

// The remote has another size than the tree.
func TestWrongSize(t *testing.T) {
	img := image("abcdef")
	for _, size := range []int64{5 * block, 7 * block, 6*block + 1} {
		_, err := run(t, img, slot(nil, 10), transfer.Target{}, &server{content: img, size: size}, transfer.Options{})
		if fault.KindOf(err) != fault.Verify || !strings.Contains(err.Error(), "hash tree is of 24576") {
			t.Errorf("Run() of a remote of %d bytes = %v; want kind Verify", size, err)
		}
	}
}
