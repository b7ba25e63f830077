package recoverytest

import (
	"io"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

// larger reads as dev, with zeros behind it.
type larger struct {
	blockdev.Device
	size int64
}

func (l larger) Size() int64 { return l.size }

func (l larger) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if have := l.Device.Size(); off < have {
		var err error
		if n, err = l.Device.ReadAt(p[:min(int64(len(p)), have-off)], off); err != nil && err != io.EOF {
			return n, err
		}
	}
	m, err := zeros{l.size}.ReadAt(p[n:], off+int64(n))
	return n + m, err
}

// Grown returns a copy of a disk on a larger one, which is how an image file
// lies on a device. Nothing may change dev while the copy is used.
func Grown(dev blockdev.Device, size int64) *blockdevtest.Image {
	return blockdevtest.NewImage(larger{dev, size})
}
