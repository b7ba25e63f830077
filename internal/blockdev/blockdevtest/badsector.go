package blockdevtest

import (
	"syscall"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// A BadSector is a Device with a sector that fails: to be read, until it is
// written and so replaced by a spare one; or, if it is stuck, to be written.
type BadSector struct {
	blockdev.Device
	At     int64 // where it starts
	Stuck  bool
	mended bool
}

func (d *BadSector) within(p []byte, off int64) bool {
	return off < d.At+sectorSize && d.At < off+int64(len(p))
}

// ReadAt implements io.ReaderAt.
func (d *BadSector) ReadAt(p []byte, off int64) (int, error) {
	if !d.Stuck && !d.mended && d.within(p, off) {
		return 0, syscall.EIO
	}
	return d.Device.ReadAt(p, off)
}

// WriteAt implements io.WriterAt.
func (d *BadSector) WriteAt(p []byte, off int64) (int, error) {
	if d.within(p, off) {
		if d.Stuck {
			return 0, syscall.EIO
		}
		d.mended = true
	}
	return d.Device.WriteAt(p, off)
}
