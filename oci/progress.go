package oci

import (
	"context"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// meterStep is how many bytes lie between two calls of Options.Progress.
const meterStep = 1 << 20

// A meter adds up progress from several goroutines.
type meter struct {
	mu    sync.Mutex
	fn    func(Progress)
	p     Progress
	shown int64
}

func newMeter(opt Options, phase string, layers []v1.Descriptor) *meter {
	m := &meter{fn: opt.Progress, p: Progress{Phase: phase}}
	for _, d := range layers {
		m.p.Total += d.Size
	}
	return m
}

// grow makes room for a layer that must be read twice.
func (m *meter) grow(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.p.Total += n
}

func (m *meter) add(n int64) {
	if m.fn == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.p.Done += n
	m.tell()
}

// addLocal counts what need not be fetched; less than nothing takes it back.
func (m *meter) addLocal(n int64) {
	if m.fn == nil || n == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.p.Done += n
	m.p.Local += n
	m.tell()
}

func (m *meter) tell() {
	if d := m.p.Done - m.shown; d >= meterStep || d < 0 || m.p.Done == m.p.Total {
		m.shown = m.p.Done
		m.fn(m.p)
	}
}

// A blobMeter stands in a download as a rate limiter that never waits: that is
// where grab tells of every chunk. What is fetched twice is counted once.
type blobMeter struct {
	count func(int64)
	left  int64
}

// WaitN implements grab.RateLimiter.
func (b *blobMeter) WaitN(_ context.Context, n int) error {
	b.add(int64(n))
	return nil
}

func (b *blobMeter) add(n int64) {
	n = min(n, b.left)
	b.left -= n
	if n > 0 && b.count != nil {
		b.count(n)
	}
}
