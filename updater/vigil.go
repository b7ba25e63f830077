package updater

import (
	"fmt"
	"time"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// A Vigil looks for signs of life of the booted system, for who pings the
// watchdog: that its disk answers, and that a system on trial is confirmed.
type Vigil struct {
	System *System
	// Within is when a system on trial must be confirmed, after the kernel's
	// start; 0 is never.
	Within time.Duration
	Uptime func() time.Duration
}

// Sign returns an error when a system on trial was not confirmed in time. When
// the disk hangs it does not return at all. An error of the disk is no reason to
// end: a device with a bad block in its boot state is to go on.
func (v Vigil) Sign() error {
	trial, err := v.System.onTrial()
	if err != nil || !trial || v.Within == 0 || v.Uptime() < v.Within {
		return nil
	}
	return fmt.Errorf("slot %v is on trial and was not confirmed within %v of the boot", v.System.bootedSlot(), v.Within)
}

// onTrial asks the medium whether the booted system is still to be confirmed,
// and there is another one to fall back to.
func (s *System) onTrial() (bool, error) {
	dev, err := s.disk.State()
	if err != nil {
		return false, err
	}
	if err := blockdev.Invalidate(dev, 0, dev.Size()); err != nil {
		return false, err
	}
	state, err := s.load()
	if err != nil {
		return false, err
	}
	slot := s.bootedSlot()
	return state.LastBoot.Slot == slot && !state.LastBoot.Confirmed && state.CanLeave(slot), nil
}
