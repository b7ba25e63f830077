package bootctl_test

import (
	"testing"

	"github.com/abupdate/abupdate/bootctl"
)

// A check that fails on a slot that was good before counts as a boot that
// nobody confirmed, with the reason.
func TestFailCheck(t *testing.T) {
	d := both(t)
	for range bootctl.MaxFailedBoots {
		if got := d.boot().Slot; got != slotB {
			t.Fatalf("slot %v boots; want b", got)
		}
		if d.s.CanLeave(slotB) {
			t.Fatal("a good slot may be left at once")
		}
		d.s = d.s.FailCheck(slotB, "check net: no route")
		if e := d.s.Slot(slotB); e.Status != bootctl.Good || e.LastFailure != "check net: no route" || !d.s.LastBoot.Unwell {
			t.Fatalf("slot is %+v, last boot %+v; want good, with the reason", *e, d.s.LastBoot)
		}
	}
	if got := d.boot().Slot; got != slotA {
		t.Errorf("slot %v boots; want a", got)
	}
	if want := "slot b (2) not confirmed in 8 boots in a row: check net: no route"; d.s.Fallback != want {
		t.Errorf("Fallback = %q; want %q", d.s.Fallback, want)
	}
	failed := 0
	for _, e := range d.s.Events {
		if e.Event == "check failed" {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("%d events of one reason; want 1", failed)
	}
}

// Without another good slot it is not left, however often its checks fail.
func TestFailCheckOfTheOnlySlot(t *testing.T) {
	d := fresh(t)
	d.up()
	for range 40 {
		if got := d.boot().Slot; got != slotA {
			t.Fatalf("slot %v boots; want a", got)
		}
		d.s = d.s.FailCheck(slotA, "check net: no route")
	}
	d.must(d.s.Confirm(slotA))
	if d.s.LastBoot.Unwell || d.s.Slot(slotA).LastFailure != "" {
		t.Errorf("last boot is %+v, slot %+v; want no failure when it is confirmed", d.s.LastBoot, *d.s.Slot(slotA))
	}
	if s := d.s.FailCheck(slotA, "x"); !s.Equal(d.s) {
		t.Error("a check that fails after the boot was confirmed changed the state")
	}
	if s := d.s.FailCheck(slotB, "x").FailCheck(recovery, "x"); !s.Equal(d.s) {
		t.Error("a check that fails on a slot that does not run changed the state")
	}
}

func TestCanLeave(t *testing.T) {
	d := staged(t)
	d.boot()
	for slot, want := range map[bootctl.Slot]bool{slotA: false, slotB: true, recovery: false, none: false} {
		if got := d.s.CanLeave(slot); got != want {
			t.Errorf("CanLeave(%v) = %v; want %v", slot, got, want)
		}
	}
	alone := &device{t, bootctl.Rebuild(found(slotA, "1", ""))}
	if alone.boot(); alone.s.CanLeave(slotA) {
		t.Error("the only slot may be left")
	}
}
