package initramfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/watchdog"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery"
	"github.com/abupdate/abupdate/verity/dm"
)

// machine is the System that PID 1 runs on.
type machine struct {
	release  string
	kmsg     *os.File
	consoles *consoles
	watchdog *watchdog.File
	alive    atomic.Int64 // Uptime of the last sign of life
	slack    int          // of this process's timers at first, in nanoseconds; see Settle
}

// stuckAfter is how long the sequence may go without a sign of life: a call
// that hangs in the kernel, on a dead disk for one, must not hang the device.
const stuckAfter = 10 * time.Minute

// Main is what PID 1 does. It does not return.
func Main() {
	// One thing happens after the other here. On more processors the runtime's
	// threads look for work that there is none of, beside the kernel's own. On
	// one alone its monitor takes the processor away from each system call that
	// lasts some microseconds, and back, and has no rest itself.
	runtime.GOMAXPROCS(2)
	m := newMachine()
	go m.guard()
	err := Boot(m)
	m.Log(true, fmt.Sprintf("the boot sequence returned: %v", err))
	m.Restart(recovery.Reboot)
}

func newMachine() *machine {
	m := &machine{}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		m.release = unix.ByteSliceToString(u.Release[:])
	}
	m.Alive()
	return m
}

// guard reboots when the sequence is stuck. The try was counted; the reason
// cannot be saved, because the disk may be what hangs.
func (m *machine) guard() {
	for {
		time.Sleep(stuckAfter / 10)
		if m.Uptime()-time.Duration(m.alive.Load()) > stuckAfter {
			m.Log(true, fmt.Sprintf("no progress for %v, rebooting", stuckAfter))
			m.Restart(recovery.Reboot)
		}
	}
}

func (m *machine) Root() string      { return "/" }
func (m *machine) Release() string   { return m.release }
func (m *machine) Args() []string    { return os.Args[1:] }
func (m *machine) Environ() []string { return os.Environ() }

var mountFlags = map[MountFlag]uintptr{
	ReadOnly: unix.MS_RDONLY, NoSuid: unix.MS_NOSUID, NoDev: unix.MS_NODEV, NoExec: unix.MS_NOEXEC,
	Bind: unix.MS_BIND, Move: unix.MS_MOVE,
}

func (m *machine) Mount(mt Mount) error {
	var flags uintptr
	for f, ms := range mountFlags {
		if mt.Flags&f != 0 {
			flags |= ms
		}
	}
	_, err := mount.Mount(mt.Source, mt.Target, mt.Type, mt.Data, flags)
	return bare(err)
}

func (m *machine) Unmount(target string) error { return bare(mount.Unmount(target, false, false)) }

// bare takes off what the caller says as well: what was mounted where.
func bare(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

func (m *machine) LoadModule(path, params string) error {
	// Package os would ask of each file whether it can be waited for.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	err = unix.FinitModule(fd, params, 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func (m *machine) FindDisk(hint partitions.Hint) (*Disk, error) {
	list, err := partitions.ListDisks(newDirFS("/sys"), "/dev")
	if err != nil {
		return nil, err
	}
	defer keepOpen(list)()
	found, err := partitions.FindBootDisk(list, hint)
	if err != nil {
		return nil, err
	}
	path := "/dev/" + strings.ReplaceAll(found.Name, "!", "/") // the kernel's spelling of a slash
	dev, err := blockdev.Open(path, blockdev.ReadWrite)
	if err != nil {
		return nil, err
	}
	if err := waitForNodes(path, dev); err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return &Disk{Path: path, Dev: dev}, nil
}

// keepOpen keeps what is opened of the candidates open until the function that it
// returns is called: the kernel forgets what it read of a disk when nobody has it
// open any more, and the table is read again.
func keepOpen(list []partitions.Candidate) (closeAll func()) {
	var opened []io.Closer
	for i, c := range list {
		list[i].Open = func() (blockdev.Device, error) {
			dev, err := c.Open()
			if closer, ok := dev.(io.Closer); ok && err == nil {
				opened = append(opened, closer)
			}
			return struct{ blockdev.Device }{dev}, err // without its Close
		}
	}
	return func() {
		for _, dev := range opened {
			dev.Close()
		}
	}
}

// waitForNodes returns an error while partitions have no device node yet: a
// disk has its own before the kernel has read the table. With a damaged table
// there are none to wait for.
func waitForNodes(path string, dev blockdev.Device) error {
	layout, err := partitions.Open(dev)
	if err != nil || layout.FromBackup() {
		return err
	}
	for _, p := range layout.Partitions() {
		if _, err := os.Stat(p.Node(path)); err != nil {
			return fmt.Errorf("%w: %w", partitions.ErrNoDisk, err)
		}
	}
	return nil
}

func (m *machine) OpenVerity(t dm.Target) (string, error) { return dm.Open(t) }

func (m *machine) Lchown(path string, uid, gid uint32) error {
	return os.Lchown(path, int(uid), int(gid))
}

// Random waits up to three seconds for the kernel's generator to be seeded,
// then takes what there is: on a machine without any entropy a weak machine
// ID is better than no boot.
func (m *machine) Random(p []byte) error {
	for end := m.Uptime() + 3*time.Second; ; m.Sleep(50 * time.Millisecond) {
		flags := unix.GRND_NONBLOCK
		if m.Uptime() > end {
			flags = unix.GRND_INSECURE
		}
		n, err := unix.Getrandom(p, flags)
		if n == len(p) {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("reading random bytes: %w", err)
		}
	}
}

func (m *machine) Uptime() time.Duration {
	return uptime()
}

func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

func (m *machine) Sleep(d time.Duration) {
	for ; d > 0; d -= time.Second {
		m.Alive()
		time.Sleep(min(d, time.Second))
	}
	m.Alive()
}

// maxLogLine is what /dev/kmsg takes in one record, with some room.
const maxLogLine = 900

func (m *machine) Log(urgent bool, line string) {
	line = "abupdate: " + strings.Join(strings.Fields(line), " ")
	line = line[:min(len(line), maxLogLine)]
	level := 6
	if urgent {
		level = 3
	}
	if m.kmsg == nil {
		if f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
			m.kmsg = f
		}
	}
	if m.kmsg != nil {
		_, err := fmt.Fprintf(m.kmsg, "<%d>%s\n", level, line)
		if err == nil && (!urgent || consoleLevel() > level) {
			return
		}
	}
	fmt.Fprintf(m.openConsoles(), "%s\r\n", line)
}

// consoleLevel is the first number of the kernel's printk setting: messages
// below it appear on the consoles.
func consoleLevel() (level int) {
	b, err := readFile("/proc/sys/kernel/printk")
	if err == nil {
		fmt.Sscan(string(b), &level)
	}
	return level
}

func (m *machine) Restart(how recovery.Restart) {
	if os.Getpid() != 1 {
		panic("initramfs: restarting a machine that is not ours")
	}
	synced := make(chan struct{})
	go func() {
		unix.Sync()
		close(synced)
	}()
	select {
	case <-synced:
	case <-time.After(20 * time.Second): // a device that hangs must not keep the machine up
	}
	if how == recovery.PowerOff {
		unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	os.WriteFile("/proc/sysrq-trigger", []byte("b"), 0)
	os.Exit(1) // the kernel panics, and reboots by panic=
}
