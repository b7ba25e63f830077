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
	seen := map[v1.Hash]bool{}
	for _, d := range layers {
		if phase != "download" || !seen[d.Digest] {
			m.p.Total += d.Size
		}
		seen[d.Digest] = true
	}
	return m
}

func (m *meter) add(n int64) {
	if m.fn == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.p.Done += n
	if d := m.p.Done - m.shown; d >= meterStep || d < 0 || m.p.Done == m.p.Total {
		m.shown = m.p.Done
		m.fn(m.p)
	}
}

// A blobMeter stands in a download as a rate limiter that never waits: that is
// where grab tells of every chunk.
type blobMeter struct {
	m *meter
	n int64
}

// WaitN implements grab.RateLimiter.
func (b *blobMeter) WaitN(_ context.Context, n int) error {
	b.n += int64(n)
	b.m.add(int64(n))
	return nil
}
