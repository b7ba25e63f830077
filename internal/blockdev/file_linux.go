package blockdev

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrInUse is returned by Open for a block device that the kernel has mounted
// or mapped, and for a file that another process holds open exclusively.
var ErrInUse = errors.New("in use")

// Mode says what a File is opened for.
type Mode int

const (
	// ReadOnly opens for reading.
	ReadOnly Mode = iota
	// ReadWrite opens for reading and writing, beside others.
	ReadWrite
	// Exclusive opens for reading and writing, and fails with ErrInUse when
	// a block device is mounted or mapped (O_EXCL), or a file is locked.
	Exclusive
)

// File is a Device on a regular file or a block device. Its size is fixed at
// the time of Open.
type File struct {
	f        *os.File
	flags    int
	size     int64
	block    bool
	openPast sync.Once
	past     *os.File    // the same past the page cache, if that can be
	uncached atomic.Bool // reading goes past it as well; see Invalidate
	behind   Behind
}

// Open opens the file or block device at path.
func Open(path string, mode Mode) (*File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	block := st.Mode().Type() == os.ModeDevice
	if !block && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is neither a block device nor a file", path)
	}
	flags := os.O_RDONLY
	if mode != ReadOnly {
		flags = os.O_RDWR
	}
	if mode == Exclusive && block {
		flags |= unix.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%s: %w", path, ErrInUse)
	}
	if err != nil {
		return nil, err
	}
	d := &File{f: f, flags: flags &^ unix.O_EXCL, size: st.Size(), block: block}
	if err := d.setUp(mode); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

func (d *File) setUp(mode Mode) error {
	if d.block {
		size, err := deviceSize(d.f)
		d.size = size
		return err
	}
	if mode != Exclusive {
		return nil
	}
	err := unix.Flock(int(d.f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrInUse
	}
	return err
}

// deviceSize asks the kernel for a block device's length in bytes.
func deviceSize(f *os.File) (int64, error) {
	var size uint64
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return 0, fmt.Errorf("asking for the device's size: %w", errno)
	}
	return int64(size), nil
}

// Name is the path that was opened.
func (d *File) Name() string { return d.f.Name() }

// IsBlock says whether this is a block device, not a regular file.
func (d *File) IsBlock() bool { return d.block }

// OSFile is the open file, for ioctls.
func (d *File) OSFile() *os.File { return d.f }

// Size implements Device.
func (d *File) Size() int64 { return d.size }

// ReadAt implements io.ReaderAt.
func (d *File) ReadAt(p []byte, off int64) (int, error) {
	if off >= d.size {
		return 0, io.EOF
	}
	if d.uncached.Load() && len(p) >= directRead {
		if n, err := d.direct(p, off, (*os.File).ReadAt); !errors.Is(err, errors.ErrUnsupported) {
			return n, err
		}
	}
	return d.f.ReadAt(p, off)
}

// WriteAt implements io.WriterAt; a write past the end writes nothing, so a
// regular file never grows. Large writes do not go through the page cache where
// the file system can do that: what is written once and never read from there
// would only push out what the system needs. They are not durable before Sync
// either.
func (d *File) WriteAt(p []byte, off int64) (int, error) {
	if err := CheckBounds(off, int64(len(p)), d.size); err != nil {
		return 0, err
	}
	if len(p) >= directWrite {
		if n, err := d.direct(p, off, (*os.File).WriteAt); !errors.Is(err, errors.ErrUnsupported) {
			return n, err
		}
	}
	n, err := d.f.WriteAt(p, off)
	d.behind.Wrote(d.f, off, int64(n))
	return n, err
}

const (
	directRead  = 64 << 10  // bytes; less gains from being read ahead
	directWrite = 512 << 10 // less gains from being written together
	directAlign = 4096      // of places and lengths, for every device
)

// direct transfers p past the page cache, or fails with errors.ErrUnsupported:
// a file system may refuse what another takes.
func (d *File) direct(p []byte, off int64, do func(*os.File, []byte, int64) (int, error)) (int, error) {
	if (uint64(off)|uint64(len(p))|uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p)))))%directAlign != 0 {
		return 0, errors.ErrUnsupported
	}
	d.openPast.Do(func() {
		fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", d.f.Fd()), d.flags|unix.O_DIRECT|unix.O_CLOEXEC, 0)
		if err == nil {
			d.past = os.NewFile(uintptr(fd), d.f.Name()) // which errors have
		}
	})
	if d.past == nil {
		return 0, errors.ErrUnsupported
	}
	n, err := do(d.past, p, off)
	if errors.Is(err, unix.EINVAL) {
		return 0, errors.ErrUnsupported
	}
	return n, err
}

// Sync implements Device with fsync(2).
func (d *File) Sync() error { return d.f.Sync() }

// StartSync implements Starter.
func (d *File) StartSync(off, n int64) error {
	if err := unix.SyncFileRange(int(d.f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE); err != nil {
		return fmt.Errorf("beginning to write back %s: %w", d.f.Name(), err)
	}
	return nil
}

// Invalidate implements Invalidator: clean pages of the range are dropped
// from the page cache. Dirty pages stay, so Sync first. From then on large
// reads do not go through the page cache where the file system can do that: a
// read-back is for the medium, and for half the time.
func (d *File) Invalidate(off, n int64) error {
	if err := unix.Fadvise(int(d.f.Fd()), off, n, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("dropping %s from the page cache: %w", d.f.Name(), err)
	}
	d.uncached.Store(true)
	return nil
}

// Close closes the file; it does not sync.
func (d *File) Close() error {
	d.openPast.Do(func() {})
	var err error
	if d.past != nil {
		err = d.past.Close()
	}
	return errors.Join(err, d.f.Close())
}
