package updater

import "golang.org/x/sys/unix"

// stepBack gives this thread the lowest priorities for disk and processor. A
// kernel or sandbox that forbids it is no reason not to go on.
func stepBack() {
	const (
		whoProcess = 1 // linux/ioprio.h: IOPRIO_WHO_PROCESS; 0 is this thread
		classIdle  = 3 << 13
	)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, 0, classIdle)
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19)
}
