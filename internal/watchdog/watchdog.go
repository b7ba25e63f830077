// Package watchdog says who keeps the kernel's watchdog quiet, and how long. The
// device takes one owner at a time and is handed on from one to the next: abinit,
// its Bridge over the start of the image's init, and then systemd or a Guard.
//
// Nobody here ever stops it: a close without the magic character leaves it
// running, so that a gap between two owners, or an owner that dies, ends in a
// reset.
package watchdog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Path is the first watchdog of the machine: what systemd takes, too.
const Path = "/dev/watchdog"

// ErrTaken is the error of opening a watchdog that somebody else has open.
var ErrTaken error = syscall.EBUSY

// ErrNone is the error of opening a watchdog that is not there.
var ErrNone = fs.ErrNotExist

// A Device is a watchdog that is open, and so armed.
type Device interface {
	Ping() error
	// Timeout is how long it waits for a ping.
	Timeout() (time.Duration, error)
	// Close leaves it running.
	Close() error
}

// A File is a Device.
type File struct{ f *os.File }

// Open opens the watchdog of that name below the open directory dir.
func Open(dir int, name string) (*File, error) {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the watchdog: %w", err)
	}
	return &File{os.NewFile(uintptr(fd), name)}, nil
}

// Ping starts its time anew.
func (d *File) Ping() error {
	_, err := d.f.Write([]byte{0})
	return err
}

// SetTimeout sets its time, in whole seconds; drivers round it.
func (d *File) SetTimeout(timeout time.Duration) error {
	if err := unix.IoctlSetPointerInt(int(d.f.Fd()), unix.WDIOC_SETTIMEOUT, int(timeout/time.Second)); err != nil {
		return fmt.Errorf("setting the watchdog to %v: %w", timeout, err)
	}
	return nil
}

// Timeout implements Device.
func (d *File) Timeout() (time.Duration, error) {
	n, err := unix.IoctlGetInt(int(d.f.Fd()), unix.WDIOC_GETTIMEOUT)
	if err == nil && n <= 0 {
		err = errors.New("the driver does not know")
	}
	if err != nil {
		return 0, fmt.Errorf("asking the watchdog for its time: %w", err)
	}
	return time.Duration(n) * time.Second, nil
}

// Close implements Device.
func (d *File) Close() error { return d.f.Close() }

// Interval is how often a watchdog is pinged, as systemd does it.
func Interval(timeout time.Duration) time.Duration { return max(timeout, time.Second) / 2 }
