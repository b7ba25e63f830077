package recovery

import (
	"fmt"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
)

// A Saver keeps a boot state; *bootctl.Store is one.
type Saver interface {
	Save(bootctl.State) error
}

// FinishReset runs a factory reset from the phase that the state tells of to
// its end: var loses its file system, so that the boot that follows makes it
// anew. The slots stay as they are. vardev is nil when the disk has no var
// partition; alive is called now and then.
//
//	requested -> save wiping, var void -> wipe, sync -> save wiped -> save the end
//
// Cut anywhere, the next call goes on: the wipe is repeated from its start
// until "wiped" was saved, and var stays void (State.MakingVar) until the boot
// has made it.
func FinishReset(store Saver, vardev blockdev.Device, s bootctl.State, alive func()) (bootctl.State, error) {
	step := func(phase bootctl.ResetPhase) error {
		next := s.AdvanceReset(phase)
		next.MakingVar = vardev != nil
		if err := store.Save(next); err != nil {
			return fmt.Errorf("factory reset: %w", err)
		}
		s = next
		return nil
	}
	if s.Reset == bootctl.ResetRequested {
		if err := step(bootctl.ResetWiping); err != nil {
			return s, err
		}
	}
	if s.Reset == bootctl.ResetWiping {
		if vardev != nil {
			if err := Wipe(vardev, alive); err != nil {
				return s, fmt.Errorf("factory reset: wiping var: %w", err)
			}
		}
		if err := step(bootctl.ResetWiped); err != nil {
			return s, err
		}
	}
	if s.Reset == bootctl.ResetWiped {
		if err := step(bootctl.ResetNone); err != nil {
			return s, err
		}
	}
	return s, nil
}

// btrfsMirrors are where btrfs keeps copies of its superblock that its repair
// tools would take for the file system.
var btrfsMirrors = []int64{64 << 20, 256 << 30}

const superblockSize = 4096

// Wipe makes a file system unfindable: the device is blank for
// partitions.IsBlank, and the copies of superblocks that repair tools look
// for are gone. The data itself is not erased from the medium.
func Wipe(dev blockdev.Device, alive func()) error {
	for _, off := range btrfsMirrors {
		alive()
		if off+superblockSize > dev.Size() {
			continue
		}
		if err := blockdev.Zero(dev, off, superblockSize); err != nil {
			return err
		}
	}
	return partitions.Blank(dev)
}
