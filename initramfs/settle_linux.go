package initramfs

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// lateness is what timers of the runtime's threads may be late, in nanoseconds.
const lateness = 10_000_000

// Settle gives the threads of Go's runtime rest: while a system call lasts, its
// monitor looks after it every 20 µs, and half of what a slow machine does here
// was that. With more slack the kernel lets it sleep on until it does something
// anyway, a tick for one. Threads that start later have the same; SwitchRoot
// takes care that the image's init has not.
func (m *machine) Settle() {
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || slack <= 0 {
		return
	}
	m.slack = slack
	threads, _ := os.ReadDir("/proc/self/task")
	for _, t := range threads {
		os.WriteFile("/proc/"+t.Name()+"/timerslack_ns", []byte(strconv.Itoa(lateness)), 0) // kernels before 4.6 have none
	}
}

// unsettle gives this thread, which the goroutine keeps, the slack back that the
// machine started with.
func (m *machine) unsettle() {
	runtime.LockOSThread()
	if m.slack > 0 {
		unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(m.slack), 0, 0, 0)
	}
}
