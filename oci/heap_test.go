package oci_test

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// peakHeap runs fn and returns by how many bytes the live heap was larger
// meanwhile than before, as the collector saw it at any time: it runs whenever
// a fifth has been added.
func peakHeap(t testing.TB, fn func()) int64 {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	runtime.GC()
	before := liveBytes()
	peak, quit, done := before, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			peak = max(peak, liveBytes())
			select {
			case <-quit:
				return
			case <-time.After(500 * time.Microsecond):
			}
		}
	}()
	fn()
	close(quit)
	<-done
	runtime.GC()
	return int64(max(peak, liveBytes()) - before)
}

func liveBytes() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
