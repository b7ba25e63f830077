package initramfs

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
)

func (m *machine) ShowPartition(d *Disk, p partitions.Partition) error {
	if part, err := blockdev.Open(p.Node(d.Path), blockdev.ReadOnly); err == nil {
		size := part.Size()
		part.Close()
		if size == p.Size {
			return nil
		}
	}
	f, ok := d.Dev.(*blockdev.File)
	if !ok {
		return fmt.Errorf("%s is not a block device", d.Path)
	}
	return partitions.TellKernel(f.OSFile(), p)
}

// Requests of fs/ext4/ext4.h and include/uapi/linux/btrfs.h.
const (
	ext4ResizeFS = 0x40086610 // _IOW('f', 16, __u64): new length in blocks
	btrfsResize  = 0x50009403 // _IOW(0x94, 3, struct btrfs_ioctl_vol_args)
)

// GrowFilesystem asks the kernel, as resize2fs and btrfs do for a mounted
// file system; both keep it consistent when the power goes.
func (m *machine) GrowFilesystem(mountpoint, fstype string, size int64) error {
	dir, err := os.Open(mountpoint)
	if err != nil {
		return err
	}
	defer dir.Close()
	switch fstype {
	case "ext4":
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
			return err
		}
		blocks := uint64(size / st.Bsize)
		return ioctl(dir, ext4ResizeFS, unsafe.Pointer(&blocks))
	case "btrfs":
		var args struct {
			fd   int64
			name [4088]byte
		}
		copy(args.name[:], "max")
		return ioctl(dir, btrfsResize, unsafe.Pointer(&args))
	}
	return fmt.Errorf("growing %s is not known", fstype)
}

// SyncFilesystem uses syncfs(2), which reports errors of writing back.
func (m *machine) SyncFilesystem(mountpoint string) error {
	dir, err := os.Open(mountpoint)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Syncfs(int(dir.Fd()))
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}
