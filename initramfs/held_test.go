package initramfs_test

import (
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/recovery/recoverytest"
)

const (
	opensA = "verity /dev/vda3"
	opensB = "verity /dev/vda4"
)

// A slot that is held boots when the command line asks for it, and only then.
func TestHeldSlot(t *testing.T) {
	d := recoverytest.NewDisk(t, 0, true)
	s := bootctl.New().Install(bootctl.SlotA, d.FillSlot(t, bootctl.SlotA, "1.0"))
	d.SetState(t, s.Hold(bootctl.SlotB, d.FillSlot(t, bootctl.SlotB, "2.0")))
	dev := newDevice(t, d.Dev)
	for i, tt := range []struct{ cmdline, opens string }{{"", opensA}, {"abupdate.slot=b", opensB}, {"", opensA}} {
		f := dev.boot(func(f *fakeSystem) { f.cmdline = tt.cmdline })
		if !f.did(tt.opens) {
			t.Errorf("boot %d with %q: %q; want %s", i, tt.cmdline, f.calls, tt.opens)
		}
	}
	if got := dev.slot(bootctl.SlotB).Status; got != bootctl.Held {
		t.Errorf("slot b is %s; want held", got)
	}
}

// A device whose only slot was confirmed once does not end in recovery because
// nobody confirms it any more.
func TestConfirmedSlotIsKept(t *testing.T) {
	d := installed(t)
	d.boot()
	s, err := d.state().Confirm(bootctl.SlotA)
	if err != nil {
		t.Fatal(err)
	}
	if err := recoverytest.Store(t, d.layout()).Save(s); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * bootctl.MaxFailedBoots {
		if f := d.boot(); !f.did(opensA) || len(f.switched) == 0 {
			t.Fatalf("boot %d: %q; want slot a", i, f.calls)
		}
	}
	if e := d.slot(bootctl.SlotA); !e.Kept || e.Status != bootctl.Good {
		t.Errorf("slot a is %+v; want it kept", e)
	}
}
