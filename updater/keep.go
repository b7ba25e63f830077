package updater

import (
	"bytes"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// A keeper is a Device that does not write what is there already: an apply
// that was interrupted goes on where it stopped, and flash is spared.
type keeper struct {
	blockdev.Device
	compare bool // else everything is written
	buf     []byte
	kept    int64 // bytes that were there
}

// keepBlock is the grain of the comparison, in bytes.
const keepBlock = 4096

// WriteAt implements io.WriterAt. Only whole blocks are compared; runs of
// blocks that differ go out as one write.
func (k *keeper) WriteAt(p []byte, off int64) (int, error) {
	if !k.compare {
		return k.Device.WriteAt(p, off)
	}
	if len(k.buf) < len(p) {
		k.buf = make([]byte, len(p))
	}
	old := k.buf[:len(p)]
	if n, _ := k.Device.ReadAt(old, off); n < len(p) {
		return k.Device.WriteAt(p, off) // unreadable: a write may mend it
	}
	for at := 0; at < len(p); {
		same, end := run(p, old, at)
		if !same {
			if n, err := k.Device.WriteAt(p[at:end], off+int64(at)); err != nil {
				return at + n, err
			}
		} else {
			k.kept += int64(end - at)
		}
		at = end
	}
	return len(p), nil
}

// run returns the end of the run of blocks from at that are all the same as
// in old, or all different.
func run(p, old []byte, at int) (same bool, end int) {
	for end = at; end < len(p); {
		next := min(end+keepBlock, len(p))
		is := bytes.Equal(p[end:next], old[end:next])
		if end == at {
			same = is
		} else if is != same {
			break
		}
		end = next
	}
	return same, end
}

// Invalidate implements blockdev.Invalidator.
func (k *keeper) Invalidate(off, n int64) error { return blockdev.Invalidate(k.Device, off, n) }

// StartSync implements blockdev.Starter.
func (k *keeper) StartSync(off, n int64) error { return blockdev.StartSync(k.Device, off, n) }

// Zero implements blockdev.Zeroer.
func (k *keeper) Zero(off, n int64) error { return blockdev.Zero(k.Device, off, n) }
