package faulttest_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater"
)

// A clock is what an apply inside of this process waits on: nothing takes
// time, and what was waited for is known.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
	turns func(now time.Time) // called after each sleep, if not nil
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.slept = c.now.Add(d), append(c.slept, d)
	if c.turns != nil {
		c.turns(c.now)
	}
	return context.Cause(ctx)
}

// waited says whether somebody waited for d or longer.
func (c *clock) waited(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.slept {
		if s >= d {
			return true
		}
	}
	return false
}

// total is how long was waited, if one at a time did.
func (c *clock) total() (d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.slept {
		d += s
	}
	return d
}

// applyInside is apply in this process, where time is made up: a server that is
// silent is given up after a moment, and waiting takes none.
func (d *device) applyInside(t *testing.T, retryFor time.Duration, opt updater.ApplyOptions) (result, *clock) {
	t.Helper()
	clk := &clock{now: time.Unix(1_700_000_000, 0)}
	return d.applyAt(t, clk, retryFor, opt), clk
}

func (d *device) applyAt(t *testing.T, clk *clock, retryFor time.Duration, opt updater.ApplyOptions) result {
	t.Helper()
	const moment = 300 * time.Millisecond
	base := &http.Transport{ResponseHeaderTimeout: moment, DisableCompression: true}
	defer base.CloseIdleConnections()
	opt.Source.Registry = oci.Options{
		SpoolDir: d.home, AuthFile: d.home + "/none",
		Wire: wire.New(wire.Options{RetryFor: retryFor, Stall: moment, Now: clk.Now, Sleep: clk.Sleep, Base: base}),
	}
	sys, err := updater.Open(updater.OpenOptions{Disk: d.disk, Access: updater.Change, BootedPath: d.home + "/none"})
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	_, err = sys.Apply(t.Context(), opt)
	got := result{code: int(fault.KindOf(err))}
	if err != nil {
		got.messages = []string{"abupdate: " + err.Error()}
	}
	return got
}
