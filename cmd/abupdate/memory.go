package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// The heap may grow by so much beyond what is in use until the collector runs,
// within these bounds in percent of what is in use; Go's default is 100. Packing
// an image keeps blocks in flight and metadata, and makes little garbage
// besides, so that what the collector takes is small: on a Debian system half
// of the default takes 5 MB off the peak for 1 % more processor time, and on ten
// of them a fixed room another 10. A limit in bytes would be of no use: what an
// image's metadata needs it needs, and the collector would run without end.
const (
	heapRoom   = 5 << 20 // bytes
	leastRoom  = 12      // percent
	mostRoom   = 50
	liveMetric = "/gc/heap/live:bytes"
)

// staySmall keeps the program small on devices. GOGC in the environment has
// its way.
func staySmall() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(mostRoom)
	afterCollection(new(sentinel))
}

// A sentinel is found to be unused by each collection.
type sentinel struct{ _ [16]byte }

func afterCollection(s *sentinel) {
	runtime.SetFinalizer(s, func(s *sentinel) {
		live := []metrics.Sample{{Name: liveMetric}}
		metrics.Read(live)
		if v := live[0].Value; v.Kind() == metrics.KindUint64 {
			debug.SetGCPercent(gcPercent(v.Uint64()))
		}
		afterCollection(s)
	})
}

// gcPercent is what the heap may grow by, in percent of the bytes in use.
func gcPercent(live uint64) int {
	return int(min(max(heapRoom*100/max(live, 1), leastRoom), mostRoom))
}
