package updater

import (
	"time"

	"golang.org/x/sys/unix"
)

// A stopwatch knows when a piece of work began.
type stopwatch struct {
	at  time.Time
	cpu time.Duration
}

func startUsage() stopwatch { return stopwatch{time.Now(), processTime()} }

func (s stopwatch) since() Usage {
	return Usage{Wall: time.Since(s.at), CPU: processTime() - s.cpu}
}

// processTime is what the process has used of all processors.
func processTime() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
