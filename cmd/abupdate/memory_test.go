package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestGCPercent(t *testing.T) {
	for _, tt := range []struct {
		live uint64
		want int
	}{{0, 50}, {1 << 20, 50}, {10 << 20, 50}, {20 << 20, 25}, {25 << 20, 20}, {1 << 30, 12}} {
		if got := gcPercent(tt.live); got != tt.want {
			t.Errorf("gcPercent(%d) = %d; want %d", tt.live, got, tt.want)
		}
	}
}

// TestStaySmall has the collector follow what is in use, up and down.
func TestStaySmall(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(100)
	staySmall()
	percent := func() int {
		now := debug.SetGCPercent(100)
		debug.SetGCPercent(now)
		return now
	}
	wait := func(what string, done func(percent int) bool) {
		t.Helper()
		for start := time.Now(); !done(percent()); time.Sleep(time.Millisecond) {
			if time.Since(start) > time.Minute {
				t.Fatalf("%s: the heap may grow by %d %%", what, percent())
			}
			runtime.GC()
		}
	}
	large := make([]byte, 100<<20)
	wait("100 MiB in use", func(p int) bool { return p == leastRoom })
	runtime.KeepAlive(large)
	large = nil
	wait("little in use", func(p int) bool { return p > leastRoom })
}
