package disk

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
)

// sectorSize is the logical sector of a block device, and 512 for anything
// else: most disk image files are made for disks with sectors of 512 bytes.
func (opt Options) sectorSize(dev blockdev.Device) (int64, error) {
	if opt.SectorSize == 512 || opt.SectorSize == 4096 {
		return opt.SectorSize, nil
	}
	if opt.SectorSize != 0 {
		return 0, fault.Errorf(fault.Usage, "sectors of %d bytes; 512 and 4096 are known", opt.SectorSize)
	}
	f, ok := dev.(*blockdev.File)
	if !ok || !f.IsBlock() {
		return 512, nil
	}
	n, err := unix.IoctlGetInt(int(f.OSFile().Fd()), unix.BLKSSZGET)
	if err != nil {
		return 0, fmt.Errorf("asking %s for its sector size: %w", f.Name(), err)
	}
	if n != 512 && n != 4096 {
		return 0, fault.Errorf(fault.Usage, "%s has sectors of %d bytes; 512 and 4096 are known", f.Name(), n)
	}
	return int64(n), nil
}
