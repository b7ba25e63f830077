package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/transfer"
)

// from changes the bytes of each body, which begin at off of the content.
func from(f func(off int64, r io.Reader) io.Reader) func(context.Context, int64, io.Reader) io.Reader {
	return func(_ context.Context, off int64, r io.Reader) io.Reader { return f(off, r) }
}

// flipped flips the byte at a place of the content.
func flipped(at int64) func(context.Context, int64, io.Reader) io.Reader {
	return from(func(off int64, r io.Reader) io.Reader {
		return readerFunc(func(p []byte) (int, error) {
			n, err := r.Read(p)
			if i := at - off; i >= 0 && i < int64(n) {
				p[i] ^= 1
			}
			off += int64(n)
			return n, err
		})
	})
}

// A doubted body is one of several that may have something right.
type doubted struct {
	io.ReadCloser
	left *int
}

func (d doubted) Distrust(error) bool { *d.left--; return *d.left > 0 }

// mirrored has the bodies of one server after the other.
type mirrored struct {
	servers []*server
	left    int
}

func (m *mirrored) Size() int64 { return m.servers[0].Size() }

func (m *mirrored) now() *server { return m.servers[len(m.servers)-max(m.left, 1)] }

func (m *mirrored) Open(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	body, err := m.now().Open(ctx, off, n)
	return doubted{body, &m.left}, err
}

func (m *mirrored) whole(ctx context.Context) (io.ReadCloser, error) {
	body, err := m.now().whole(ctx)
	return doubted{body, &m.left}, err
}

// What one place has wrong is taken from another, from there on.
func TestElsewhere(t *testing.T) {
	img := fresh(20, 900)
	longer := from(func(_ int64, r io.Reader) io.Reader { return io.MultiReader(r, strings.NewReader("x")) })
	for _, tt := range []struct {
		name    string
		readers []func(context.Context, int64, io.Reader) io.Reader
		whole   bool
		says    string // "" when it goes well
		most    int64  // blocks that are fetched
	}{
		{"the first is wrong", []func(context.Context, int64, io.Reader) io.Reader{flipped(500*block + 7), nil}, false, "", 916},
		{"two are wrong", []func(context.Context, int64, io.Reader) io.Reader{flipped(7), flipped(800 * block), nil}, false, "", 932},
		{"the first is longer", []func(context.Context, int64, io.Reader) io.Reader{longer, nil}, false, "", 901},
		{"all are wrong", []func(context.Context, int64, io.Reader) io.Reader{flipped(7), flipped(500 * block)}, false, "block 500", 932},
		{"the first is wrong, no ranges", []func(context.Context, int64, io.Reader) io.Reader{flipped(500*block + 7), nil}, true, "", 1500},
		{"all are wrong, no ranges", []func(context.Context, int64, io.Reader) io.Reader{flipped(7), flipped(500 * block)}, true, "block 500", 1500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &mirrored{left: len(tt.readers)}
			for _, reader := range tt.readers {
				m.servers = append(m.servers, &server{content: img, reader: reader, noRanges: tt.whole})
			}
			dev := slot(nil, 1000)
			opt := transfer.Options{MaxRanges: 4, InFlight: 1, NoRanges: errNoRanges, Whole: m.whole, Say: func(string) {}}
			p, err := transfer.New(t.Context(), tree(t, img), transfer.Target{Image: dev}, nil, opt)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Run(t.Context(), m, &sink{dev: dev}, nil)
			if tt.says != "" {
				if fault.KindOf(err) != fault.Verify || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("Run() = %v; want %q", err, tt.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Fetched > tt.most*block {
				t.Errorf("fetched %d blocks; want at most %d", got.Fetched/block, tt.most)
			}
			holds(t, dev, img)
		})
	}
}

// What a server may do to its content. Whatever it is, the blocks that are in
// the slot afterwards are right, and the next transfer takes them.
func TestServerMisbehaves(t *testing.T) {
	gone := fault.Errorf(fault.Network, "gone")
	img := fresh(20, 900)
	for _, tt := range []struct {
		name   string
		reader func(context.Context, int64, io.Reader) io.Reader
		kind   fault.Kind
		says   string
		kept   int64 // blocks, at least
	}{
		{"a flipped byte", flipped(500*block + 7), fault.Verify, "block 500 at byte 2048000 came with hash", 0},
		{"a flipped byte in the first block", flipped(7), fault.Verify, "block 0 at byte 0 came with hash", 0},
		{"a flipped byte in the last block", flipped(900*block - 1), fault.Verify, "block 899", 0},
		{"bytes of another place", from(func(off int64, _ io.Reader) io.Reader {
			return bytes.NewReader(img[len(img)/2:])
		}), fault.Verify, "the update changed, or was damaged on its way", 0},
		{"a body that ends early", from(func(_ int64, r io.Reader) io.Reader { return io.LimitReader(r, 50*block+100) }), fault.Network, "unexpected EOF", 47},
		{"an empty body", from(func(int64, io.Reader) io.Reader { return strings.NewReader("") }), fault.Network, "unexpected EOF", 0},
		{"a body that is longer", from(func(_ int64, r io.Reader) io.Reader { return io.MultiReader(r, strings.NewReader("x")) }), fault.Verify, "more bytes than were asked for", 47},
		{"a line that breaks", from(func(_ int64, r io.Reader) io.Reader {
			return io.MultiReader(io.LimitReader(r, 20*block), readerFunc(func([]byte) (int, error) { return 0, gone }))
		}), fault.Network, "gone", 15},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dev := slot(nil, 1000)
			_, err := run(t, img, dev, transfer.Target{}, &server{content: img, reader: tt.reader}, transfer.Options{MaxRanges: 4})
			if fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("Run() = %v (kind %d); want kind %d and %q", err, fault.KindOf(err), tt.kind, tt.says)
			}
			if errors.Is(err, transfer.ErrMismatch) != strings.Contains(err.Error(), "came with hash") {
				t.Errorf("Run() = %v; is it a block that does not match?", err)
			}
			got, err := run(t, img, dev, transfer.Target{Scan: true}, &server{content: img}, transfer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Kept < tt.kept*block {
				t.Errorf("the next transfer finds %d blocks; want at least %d", got.Kept/block, tt.kept)
			}
			holds(t, dev, img)
		})
	}
}

// fresh is an image of which every block is another.
func fresh(seed byte, blocks int) []byte {
	b := make([]byte, blocks*block)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// A server that stalls holds up one range; the others go on, and no more is
// read of it than fits.
func TestOneRangeStalls(t *testing.T) {
	img := fresh(21, 1200)
	var once sync.Once
	release := make(chan struct{})
	srv := &server{content: img, reader: func(_ context.Context, off int64, r io.Reader) io.Reader {
		if off != 0 {
			return r
		}
		return readerFunc(func(p []byte) (int, error) {
			<-release
			return r.Read(p)
		})
	}}
	dev := slot(nil, 1300)
	p, err := transfer.New(t.Context(), tree(t, img), transfer.Target{Image: dev}, nil, transfer.Options{InFlight: 2})
	if err != nil {
		t.Fatal(err)
	}
	ranges := p.Figures().Ranges
	_, err = p.Run(t.Context(), srv, &sink{dev: dev, after: func(off, n int64) {
		// Only what comes of the stalled range is left.
		if srv.opened() == ranges {
			once.Do(func() { close(release) })
		}
	}}, nil)
	if err != nil || ranges < 4 {
		t.Fatalf("Run() of %d ranges = %v", ranges, err)
	}
	if srv.most != 2 {
		t.Errorf("%d ranges at a time; want 2", srv.most)
	}
	holds(t, dev, img)
}

// A failure, of one range or of the slot, ends the ranges that stall and the
// copying beside them, and is what Run returns.
func TestFailureEndsTheOthers(t *testing.T) {
	img := fresh(24, 2000)
	old := append([]byte(nil), img[:400*block]...)
	broken := errors.New("broken")
	for _, tt := range []struct {
		name string
		read func() (int, error) // of the first range that is opened
		sink error
	}{
		{"a range", func() (int, error) { return 0, broken }, nil},
		{"the slot", nil, broken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var once sync.Once
			srv := &server{content: img, reader: func(ctx context.Context, _ int64, _ io.Reader) io.Reader {
				read := func() (int, error) {
					<-ctx.Done()
					return 0, context.Cause(ctx)
				}
				if tt.read != nil {
					once.Do(func() { read = tt.read })
				}
				return readerFunc(func([]byte) (int, error) { return read() })
			}}
			dev := slot(nil, 2100)
			p, err := transfer.New(t.Context(), tree(t, img), transfer.Target{Image: dev}, []transfer.Source{source(t, old)}, transfer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Run(t.Context(), srv, &sink{dev: dev, fail: tt.sink}, nil)
			if !errors.Is(err, broken) {
				t.Errorf("Run() = %v; want %v", err, broken)
			}
			if srv.open != 0 {
				t.Errorf("%d ranges are left open", srv.open)
			}
		})
	}
}

// opened is how many ranges were asked for.
func (s *server) opened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ranges
}

func TestWithoutRanges(t *testing.T) {
	img := fresh(22, 1000)
	old := append([]byte(nil), img...)
	rand.NewChaCha8([32]byte{9}).Read(old[100*block : 900*block])
	for _, tt := range []struct {
		name  string
		after int // ranges that are answered
		whole bool
		kind  fault.Kind
	}{
		{"from the start", 0, true, 0},
		{"after two ranges", 2, true, 0},
		{"and all of it is forbidden", 0, false, fault.Network},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dev := slot(nil, 1100)
			srv := &server{content: img}
			noted := 0
			opt := transfer.Options{NoRanges: errNoRanges, Say: func(note string) {
				if strings.Contains(note, "no ranges") {
					noted++
				}
			}}
			if tt.whole {
				opt.Whole = srv.whole
			}
			target := transfer.Target{Image: dev}
			p, err := transfer.New(t.Context(), tree(t, img), target, []transfer.Source{source(t, old)}, opt)
			if err != nil {
				t.Fatal(err)
			}
			var last transfer.Progress
			got, err := p.Run(t.Context(), limited{srv, tt.after}, &sink{dev: dev}, func(p transfer.Progress) { last = p })
			if fault.KindOf(err) != tt.kind {
				t.Fatalf("Run() = %v; want kind %d", err, tt.kind)
			}
			if tt.kind != 0 {
				return
			}
			holds(t, dev, img)
			if noted != 1 || last.Done != int64(len(img)) || last.ToFetch < last.Fetched || got.Fetched != srv.bytes {
				t.Errorf("%d notes, the last progress is %+v, Run() = %+v, the server gave %d bytes", noted, last, got, srv.bytes)
			}
			if got.Copied < 190*block {
				t.Errorf("copied %d blocks; want those that are here", got.Copied/block)
			}
		})
	}
}

// limited answers some ranges.
type limited struct {
	*server
	after int
}

func (l limited) Open(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if l.opened() >= l.after {
		return nil, fault.Errorf(fault.Network, "a proxy: %w", errNoRanges)
	}
	return l.server.Open(ctx, off, n)
}

// A remote that cannot be opened.
func TestOpenFails(t *testing.T) {
	img := image("abcdef")
	for _, near := range []bool{false, true} {
		dev := slot(nil, 10)
		p, err := transfer.New(t.Context(), tree(t, img), transfer.Target{Image: dev}, nil, transfer.Options{Near: near})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Run(t.Context(), limited{&server{content: img}, 0}, &sink{dev: dev}, nil)
		if !errors.Is(err, errNoRanges) || !strings.Contains(err.Error(), "fetching at byte 0") {
			t.Errorf("Run() = %v; want the error of Open", err)
		}
	}
}

// What was fetched is synced from time to time.
func TestSyncs(t *testing.T) {
	img := fresh(23, 40<<8)
	for _, near := range []bool{false, true} {
		dev := &syncing{Device: slot(nil, 41<<8)}
		p, err := transfer.New(t.Context(), tree(t, img), transfer.Target{Image: dev}, nil, transfer.Options{Near: near})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Run(t.Context(), &server{content: img}, &sink{dev: dev}, nil); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{false: 2, true: 0}[near]; dev.syncs != want {
			t.Errorf("near: %v: %d syncs on 40 MiB; want %d", near, dev.syncs, want)
		}
	}
}

// A syncing device counts.
type syncing struct {
	blockdev.Device
	syncs int
}

func (s *syncing) Sync() error { s.syncs++; return s.Device.Sync() }
