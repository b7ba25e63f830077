package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/updater/transfer"
	"github.com/abupdate/abupdate/verity"
)

const block = verity.BlockSize

// image makes an image of one block for each letter: equal letters are equal
// blocks.
func image(letters string) []byte {
	var b []byte
	for _, c := range []byte(letters) {
		var key [32]byte
		key[0] = c
		p := make([]byte, block)
		rand.NewChaCha8(key).Read(p)
		b = append(b, p...)
	}
	return b
}

func tree(t testing.TB, image []byte) *verity.Tree {
	t.Helper()
	tr, err := verity.Build(bytes.NewReader(image), int64(len(image)), verity.DefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// slot is a device that begins with an image, and has room behind it.
func slot(image []byte, blocks int) *blockdev.Memory {
	b := bytes.Repeat([]byte{0x5a}, blocks*block)
	copy(b, image)
	return blockdev.NewMemory(b)
}

func source(t testing.TB, image []byte) transfer.Source {
	t.Helper()
	return transfer.Source{Name: "a", Image: bytes.NewReader(image), Tree: tree(t, image)}
}

// A sink writes a device, as a slot writer does.
type sink struct {
	dev   blockdev.Device
	fail  error // of every write, once left is used up
	left  int64 // bytes
	after func(off, n int64)
	ended bool
}

func (s *sink) WriteAt(p []byte, off int64) (int, error) {
	if s.ended || off < block {
		return 0, errors.New("the first block is not the last")
	}
	if s.left -= int64(len(p)); s.fail != nil && s.left < 0 {
		return 0, s.fail
	}
	n, err := s.dev.WriteAt(p, off)
	if s.after != nil {
		s.after(off, int64(n))
	}
	return n, err
}

func (s *sink) Sync() error { return s.dev.Sync() }

func (s *sink) WriteFirst(p []byte) error {
	s.ended = true
	_, err := s.dev.WriteAt(p, 0)
	return err
}

var errNoRanges = errors.New("no ranges")

// A server is a remote that counts, and misbehaves as told.
type server struct {
	content  []byte
	size     int64 // that it says; 0: that of content
	noRanges bool
	// reader, if not nil, stands between the content and who reads it.
	reader func(ctx context.Context, off int64, r io.Reader) io.Reader

	mu           sync.Mutex
	bytes        int64
	ranges, most int // most at a time
	open         int
}

func (s *server) Size() int64 {
	if s.size != 0 {
		return s.size
	}
	return int64(len(s.content))
}

func (s *server) Open(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ranges++
	if s.noRanges {
		return nil, errNoRanges
	}
	return s.body(ctx, off, n), nil
}

// whole is what Options.Whole wants.
func (s *server) whole(ctx context.Context) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ranges++
	return s.body(ctx, 0, int64(len(s.content))), nil
}

func (s *server) body(ctx context.Context, off, n int64) io.ReadCloser {
	s.open++
	s.most = max(s.most, s.open)
	var r io.Reader = io.NewSectionReader(bytes.NewReader(s.content), off, n)
	if s.reader != nil {
		r = s.reader(ctx, off, r)
	}
	return &body{s: s, r: r}
}

type body struct {
	s *server
	r io.Reader
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.s.mu.Lock()
	b.s.bytes += int64(n)
	b.s.mu.Unlock()
	return n, err
}

func (b *body) Close() error {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.s.open--
	return nil
}

// run plans and carries out the transfer of an image to a device.
func run(t testing.TB, img []byte, dev blockdev.Device, target transfer.Target, srv *server, opt transfer.Options, from ...transfer.Source) (transfer.Figures, error) {
	t.Helper()
	target.Image = dev
	p, err := transfer.New(t.Context(), tree(t, img), target, from, opt)
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.Run(t.Context(), srv, &sink{dev: dev}, nil)
	if srv.open != 0 {
		t.Errorf("%d ranges are open after Run", srv.open)
	}
	return f, err
}

// holds fails the test unless a device begins with an image.
func holds(t testing.TB, dev blockdev.Device, img []byte) {
	t.Helper()
	got := make([]byte, len(img))
	if _, err := dev.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(img); i += block {
		if !bytes.Equal(got[i:i+block], img[i:i+block]) {
			t.Fatalf("block %d of the slot is not the image's", i/block)
		}
	}
}
