package partitions

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TellKernel tells the kernel the place and size of a partition of disk after
// the partition table changed. The partition may be mounted: a known one is
// resized, an unknown one added. Nothing is written to the disk.
func TellKernel(disk *os.File, p Partition) error {
	part := unix.BlkpgPartition{Start: p.Off, Length: p.Size, Pno: int32(p.Number)}
	err := blkpg(disk, unix.BLKPG_RESIZE_PARTITION, &part)
	if err == unix.ENXIO {
		err = blkpg(disk, unix.BLKPG_ADD_PARTITION, &part)
	}
	if err != nil {
		return fmt.Errorf("telling the kernel of partition %d (%s) of %s: %w", p.Number, p.Label, disk.Name(), err)
	}
	return nil
}

func blkpg(disk *os.File, op int32, part *unix.BlkpgPartition) error {
	arg := unix.BlkpgIoctlArg{Op: op, Datalen: int32(unsafe.Sizeof(*part)), Data: (*byte)(unsafe.Pointer(part))}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, disk.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return errno
	}
	return nil
}
