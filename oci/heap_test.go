package oci_test

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// peakHeap runs fn and returns by how much the heap was larger meanwhile than
// before, in bytes: what was live, and up to a fifth of it as garbage.
func peakHeap(t testing.TB, fn func()) int64 {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	runtime.GC()
	before := heapBytes()
	peak, quit, done := before, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			peak = max(peak, heapBytes())
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
	return int64(max(peak, heapBytes()) - before)
}

func heapBytes() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
