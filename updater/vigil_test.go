package updater_test

import (
	"testing"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/updater"
)

// Only a system on trial, with another one to fall back to, is late; no damage
// of the boot state is.
func TestVigil(t *testing.T) {
	for _, tt := range []struct {
		name   string
		edit   func(bootctl.State) bootctl.State
		uptime time.Duration
		within time.Duration
		late   bool
	}{
		{"on trial, with time left", nil, 9 * time.Minute, 10 * time.Minute, false},
		{"on trial, too late", nil, 10 * time.Minute, 10 * time.Minute, true},
		{"no limit", nil, 10 * time.Hour, 0, false},
		{"confirmed", func(s bootctl.State) bootctl.State {
			s, err := s.Confirm(bootctl.SlotB)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}, time.Hour, time.Minute, false},
		{"nothing else to run", func(s bootctl.State) bootctl.State {
			s.Slot(bootctl.SlotA).Status = bootctl.Bad
			return s
		}, time.Hour, time.Minute, false},
	} {
		p := newPatient(t)
		if tt.edit != nil {
			p.edit(tt.edit)
		}
		sys, err := p.open(updater.Read)
		if err != nil {
			t.Fatal(err)
		}
		v := updater.Vigil{System: sys, Within: tt.within, Uptime: func() time.Duration { return tt.uptime }}
		if err := v.Sign(); (err != nil) != tt.late {
			t.Errorf("%s: Sign() = %v; want late %v", tt.name, err, tt.late)
		}
	}
	p := newPatient(t)
	sys, err := p.open(updater.Read)
	if err != nil {
		t.Fatal(err)
	}
	if err := blockdev.Zero(p.dev, 0, p.dev.Size()); err != nil {
		t.Fatal(err)
	}
	if err := (updater.Vigil{System: sys, Within: 1, Uptime: func() time.Duration { return time.Hour }}).Sign(); err != nil {
		t.Errorf("Sign() with nothing on the disk = %v; want the system to go on", err)
	}
}
