package partitions

import (
	"fmt"

	"github.com/abupdate/abupdate/internal/fault"
)

// Adopt takes the place of Begin, Write and WriteFirst for an image of so many
// bytes that stands at the slot's start already: one that was streamed there
// before it was known where the slot would end. No footer may have pointed at
// it before; where it will stand is zeroed.
func (w *SlotWriter) Adopt(size int64) error {
	if err := w.Begin(); err != nil {
		return err
	}
	if size <= 0 || size%slotAlign != 0 {
		return w.fail(fmt.Errorf("taking over an image of %d bytes: not whole blocks", size))
	}
	if room := Capacity(w.dev.Size()); size > room {
		return w.fail(fault.Errorf(fault.NoRoom, "taking over an image of %d bytes: the slot of %d bytes holds an image of at most %d", size, w.dev.Size(), room))
	}
	w.off, w.foot.ImageBytes, w.foot.HashOff = size, size, size
	w.stage = imageDone
	return nil
}
