package wire

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// A watchedBody breaks a transfer that has come to stand still, or nearly so:
// TCP alone would wait for ever for a server that is there and sends nothing.
// Only the time counts in which somebody waits for bytes.
type watchedBody struct {
	io.ReadCloser
	c      *Client
	stall  time.Duration
	timer  *time.Timer
	fired  atomic.Bool
	waited time.Duration // since the count of bytes began
	got    int64
}

func (c *Client) watch(body io.ReadCloser) io.ReadCloser {
	w := &watchedBody{ReadCloser: body, c: c, stall: c.opt.Stall}
	if c.opt.LowSpeed > 0 {
		w.stall = min(w.stall, c.opt.LowSpeedTime)
	}
	w.timer = time.AfterFunc(w.stall, func() {
		w.fired.Store(true)
		body.Close()
	})
	w.timer.Stop()
	return w
}

func (w *watchedBody) Read(p []byte) (int, error) {
	start := w.c.opt.Now()
	w.timer.Reset(w.stall)
	n, err := w.ReadCloser.Read(p)
	w.timer.Stop()
	switch {
	case err == io.EOF:
		return n, err
	case err != nil && w.fired.Load():
		return n, fmt.Errorf("nothing came for %v", w.stall)
	case err != nil:
		return n, err
	}
	return n, w.measure(int64(n), w.c.opt.Now().Sub(start))
}

// measure compares the speed with the one that is wanted, once in a while.
func (w *watchedBody) measure(n int64, waited time.Duration) error {
	opt := &w.c.opt
	if opt.LowSpeed <= 0 {
		return nil
	}
	w.got += n
	w.waited += waited
	if w.waited < opt.LowSpeedTime {
		return nil
	}
	speed := float64(w.got) / w.waited.Seconds()
	w.got, w.waited = 0, 0
	if speed >= float64(opt.LowSpeed) {
		return nil
	}
	w.ReadCloser.Close()
	return fmt.Errorf("only %.0f bytes a second came for %v; want %d", speed, opt.LowSpeedTime, opt.LowSpeed)
}

// A bucket holds back transfers so that all of them together keep to the
// bandwidth.
type bucket struct {
	c    *Client
	mu   sync.Mutex
	free time.Time // when the line has room again
}

// chunkTime is how long one read may take up the whole line: what others that
// share it wait for.
const chunkTime = 100 * time.Millisecond

func newBucket(c *Client) *bucket { return &bucket{c: c, free: c.opt.Now()} }

// chunk is how many bytes to move at a time.
func (b *bucket) chunk() int {
	return int(max(512, b.c.opt.Bandwidth*int64(chunkTime)/int64(time.Second)))
}

// take waits for the room that n bytes take.
func (b *bucket) take(ctx context.Context, n int) error {
	b.mu.Lock()
	now := b.c.opt.Now()
	if b.free.Before(now) {
		b.free = now // what was not used is lost
	}
	wait := b.free.Sub(now)
	b.free = b.free.Add(time.Duration(float64(n) / float64(b.c.opt.Bandwidth) * float64(time.Second)))
	b.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	return b.c.opt.Sleep(ctx, wait)
}

// A slowed body keeps to the bandwidth.
type slowed struct {
	io.ReadCloser
	ctx context.Context
	b   *bucket
}

func (s *slowed) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := s.ReadCloser.Read(p[:min(len(p), s.b.chunk())])
	if n == 0 {
		return n, err
	}
	if waitErr := s.b.take(s.ctx, n); waitErr != nil && err == nil {
		err = waitErr
	}
	return n, err
}
