package recovery

import (
	"fmt"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
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

// A discarder is a Device that can tell its medium that data is of no use.
type discarder interface {
	Discard(off, n int64) error
}

const (
	wipeEdge  = 1 << 20
	wipeBlock = 64 << 10
)

// backupSuperblocks are the places beyond the first MiB where file systems
// keep copies that repair tools look for: btrfs at 64 MiB and 256 GiB, ext4
// (4 KiB blocks) in groups 1, 3, 5, 7, 9, 25, 27 and 49 of 128 MiB.
var backupSuperblocks = []int64{
	64 << 20, 256 << 30,
	1 * 128 << 20, 3 * 128 << 20, 5 * 128 << 20, 7 * 128 << 20, 9 * 128 << 20,
	25 * 128 << 20, 27 * 128 << 20, 49 * 128 << 20,
}

// Wipe makes a file system unfindable: both ends of the device and the known
// copies of superblocks become zero, synced. Before that the whole device is
// discarded where it can do that. Old data may stay on the medium.
func Wipe(dev blockdev.Device, alive func()) error {
	if d, ok := dev.(discarder); ok {
		alive()
		_ = d.Discard(0, dev.Size()) // a wish: what counts is written below
	}
	size := dev.Size()
	zero := func(off, n int64) error {
		alive()
		if off >= size {
			return nil
		}
		return blockdev.Zero(dev, off, min(n, size-off))
	}
	// The order does not matter: var is void until the boot has made it.
	for _, off := range backupSuperblocks {
		if err := zero(off, wipeBlock); err != nil {
			return err
		}
	}
	if err := zero(max(0, size-wipeEdge), wipeEdge); err != nil {
		return err
	}
	if err := zero(0, wipeEdge); err != nil {
		return err
	}
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("syncing: %w", err)
	}
	return nil
}
