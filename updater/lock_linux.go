package updater

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/fault"
)

// LockPath is locked by everything that changes the disk that this system
// booted from. A disk image file is locked itself.
const LockPath = "/run/abupdate/lock"

// Lock takes the lock file at path, which is made when missing, until the
// returned function is called. When somebody else has it the error is of kind
// fault.Busy.
func Lock(path string) (unlock func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the lock's directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("opening the lock: %w (root is needed)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fault.Errorf(fault.Busy, "locking %s: another abupdate is running", path)
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return f.Close, nil
}
