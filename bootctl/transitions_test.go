package bootctl_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
)

const (
	slotA    = bootctl.SlotA
	slotB    = bootctl.SlotB
	recovery = bootctl.SlotRecovery
	none     = bootctl.SlotNone
)

func TestCanApplyAndInactive(t *testing.T) {
	for _, tt := range []struct {
		name   string
		run    func(d *device)
		booted bootctl.Slot
		allow  bool
		to     bootctl.Slot
	}{
		{"A runs and is confirmed", func(d *device) { d.up() }, slotA, true, slotB},
		{"A runs and is not confirmed this time", func(d *device) { d.up(); d.boot() }, slotA, false, slotB},
		{"B runs for the first time", func(d *device) { d.up(); d.apply(slotB, v2); d.boot() }, slotB, false, slotA},
		{"B runs and is confirmed", func(d *device) { d.up(); d.apply(slotB, v2); d.up() }, slotB, true, slotA},
		{"an update waits in B, which a newer one replaces", func(d *device) { d.up(); d.apply(slotB, v2) }, slotA, true, slotB},
		{"B failed and A took over", func(d *device) { d.up(); d.apply(slotB, v2); d.boots(3); d.up() }, slotA, true, slotB},
		{"the state says that B runs, the caller that A does", func(d *device) { d.up(); d.apply(slotB, v2); d.up() }, slotA, false, slotB},
		{"the booted slot was marked bad", func(d *device) {
			d.up()
			d.apply(slotB, v2)
			d.up()
			d.must(d.s.MarkBad(slotB, ""))
		}, slotB, false, slotA},
		{"a reset is requested", func(d *device) { d.up(); d.s = d.s.RequestReset() }, slotA, false, slotB},
		{"a new disk", func(d *device) {}, none, true, slotB},
		{"a disk without a system", func(d *device) { d.s = bootctl.New() }, none, true, slotA},
		{"a disk whose update waits in B", func(d *device) { d.up(); d.apply(slotB, v2) }, none, true, slotB},
		{"a disk that last ran B, both good", func(d *device) { d.up(); d.apply(slotB, v2); d.up() }, none, true, slotA},
		{"a disk with both slots good that never ran", func(d *device) { d.s = d.s.Install(slotB, v1) }, none, true, slotB},
		{"a disk whose A was given up", func(d *device) { d.boots(9); d.apply(slotB, v2) }, none, true, slotA},
		{"recovery, A good", func(d *device) { d.s = d.s.SetOneShot(recovery); d.boot() }, recovery, true, slotB},
		{"recovery, nothing good", func(d *device) { d.boots(9) }, recovery, true, slotA},
	} {
		d := fresh(t)
		tt.run(d)
		err := d.s.CanApply(tt.booted)
		if (err == nil) != tt.allow {
			t.Errorf("%s: CanApply(%v) = %v; want allowed: %v", tt.name, tt.booted, err, tt.allow)
		}
		if err != nil {
			refused(t, tt.name, err)
		}
		if got := d.s.Inactive(tt.booted); got != tt.to {
			t.Errorf("%s: Inactive(%v) = %v; want %v", tt.name, tt.booted, got, tt.to)
		}
		if !tt.allow {
			continue
		}
		if _, err := d.s.BeginWrite(tt.to); err != nil {
			t.Errorf("%s: BeginWrite(%v) = %v; CanApply allows it", tt.name, tt.to, err)
		}
	}
}

func TestBeginWrite(t *testing.T) {
	for _, tt := range []struct {
		name  string
		run   func(d *device)
		slot  bootctl.Slot
		allow bool
	}{
		{"the only good slot", func(d *device) {}, slotA, false},
		{"an empty slot", func(d *device) {}, slotB, true},
		{"recovery", func(d *device) {}, recovery, false},
		{"no slot", func(d *device) {}, none, false},
		{"one that was left half written", func(d *device) { d.must(d.s.BeginWrite(slotB)) }, slotB, true},
		{"the good slot that runs", func(d *device) { d.up(); d.apply(slotB, v2); d.up() }, slotB, false},
		{"the good slot that does not run", func(d *device) { d.up(); d.apply(slotB, v2); d.up() }, slotA, true},
		{"the only good one, beside a pending one", func(d *device) { d.up(); d.apply(slotB, v2) }, slotA, false},
		{"the only good one, beside a bad one", func(d *device) { d.up(); d.apply(slotB, v2); d.boots(4) }, slotA, false},
		{"the only good one, beside one that was given up", func(d *device) { d.up(); d.apply(slotB, v2); d.up(); d.boots(8); d.up() }, slotA, false},
		{"one that was given up", func(d *device) { d.up(); d.apply(slotB, v2); d.up(); d.boots(8); d.up() }, slotB, true},
		{"a bad one", func(d *device) { d.up(); d.apply(slotB, v2); d.boots(4) }, slotB, true},
		{"the only slot, given up", func(d *device) { d.boots(9) }, slotA, true},
	} {
		d := fresh(t)
		tt.run(d)
		s, err := d.s.BeginWrite(tt.slot)
		switch {
		case !tt.allow:
			refused(t, tt.name, err)
			if !s.Equal(d.s) {
				t.Errorf("%s: refused, and the state changed", tt.name)
			}
		case err != nil:
			t.Errorf("%s: BeginWrite(%v) = %v; want nil", tt.name, tt.slot, err)
		default:
			if diff := cmp.Diff(bootctl.SlotState{Status: bootctl.Writing}, *s.Slot(tt.slot)); diff != "" {
				t.Errorf("%s: slot that is written (-want +got):\n%s", tt.name, diff)
			}
		}
	}
}

func TestWriteForgetsTheOldContent(t *testing.T) {
	d := staged(t)
	d.boots(3)
	d.s = d.s.SetOneShot(slotB)
	d.must(d.s.BeginWrite(slotB))
	if d.s.OneShot != none || d.s.LastBoot != (bootctl.Boot{}) {
		t.Errorf("OneShot = %v, LastBoot = %+v; want none of what B held", d.s.OneShot, d.s.LastBoot)
	}
	d.s = d.s.AbortWrite(slotB, "no room")
	if diff := cmp.Diff(bootctl.SlotState{Status: bootctl.Empty, LastFailure: "no room"}, *d.s.Slot(slotB)); diff != "" {
		t.Errorf("slot whose write was aborted (-want +got):\n%s", diff)
	}
	if s := d.s.AbortWrite(slotA, "x").AbortWrite(recovery, "x"); !s.Equal(d.s) {
		t.Error("AbortWrite of slots that are not being written changed the state")
	}
}

func TestStage(t *testing.T) {
	d := staged(t)
	want := bootctl.SlotState{Status: bootctl.Pending, TriesLeft: 3, Order: 2,
		Version: "2", Digest: "sha256:2222", RootHash: "22", Image: "docker://host/os:2"}
	if diff := cmp.Diff(want, *d.s.Slot(slotB)); diff != "" {
		t.Errorf("staged slot (-want +got):\n%s", diff)
	}
	if got := d.s.Slot(slotB).Info(); got != v2 {
		t.Errorf("Info() = %+v; want %+v", got, v2)
	}
	if got := d.s.Active(); got != slotB {
		t.Errorf("Active() = %v; want b", got)
	}
	if s := d.s.Stage(recovery, v1).Install(none, v1).BeginRestore(recovery); !s.Equal(d.s) {
		t.Error("staging the recovery slot changed the state")
	}
}

func TestConfirm(t *testing.T) {
	for _, tt := range []struct {
		name  string
		run   func(d *device)
		slot  bootctl.Slot
		allow bool
	}{
		{"the slot that runs", func(d *device) { d.boot() }, slotA, true},
		{"again", func(d *device) { d.up() }, slotA, true},
		{"a good slot on a disk that never ran", func(d *device) {}, slotA, true},
		{"an empty slot on a disk that never ran", func(d *device) {}, slotB, false},
		{"the slot that does not run", func(d *device) { d.up(); d.apply(slotB, v2) }, slotB, false},
		{"the old slot while the new one runs", func(d *device) { d.up(); d.apply(slotB, v2); d.boot() }, slotA, false},
		{"on the last try", func(d *device) { d.up(); d.apply(slotB, v2); d.boots(3) }, slotB, true},
		{"after it was marked bad in this boot", func(d *device) {
			d.up()
			d.apply(slotB, v2)
			d.boot()
			d.must(d.s.MarkBad(slotB, "x"))
		}, slotB, false},
		{"after the initramfs said that it failed", func(d *device) { d.boot(); d.s = d.s.FailBoot(slotA, "x") }, slotA, false},
		{"a bad slot that was ordered", func(d *device) {
			d.up()
			d.apply(slotB, v2)
			d.boots(4)
			d.s = d.s.SetOneShot(slotB)
			d.boot()
		}, slotB, true},
		{"recovery", func(d *device) { d.s = d.s.SetOneShot(recovery); d.boot() }, recovery, false},
		{"A while recovery runs", func(d *device) { d.s = d.s.SetOneShot(recovery); d.boot() }, slotA, false},
	} {
		d := fresh(t)
		tt.run(d)
		s, err := d.s.Confirm(tt.slot)
		switch {
		case !tt.allow:
			refused(t, tt.name, err)
		case err != nil:
			t.Errorf("%s: Confirm(%v) = %v; want nil", tt.name, tt.slot, err)
		default:
			e := s.Slot(tt.slot)
			if e.Status != bootctl.Good || e.FailedBoots != 0 || e.TriesLeft != 0 || e.LastFailure != "" || s.IsDenied(e.Digest) {
				t.Errorf("%s: slot after Confirm(%v) is %+v, denied %v", tt.name, tt.slot, *e, s.IsDenied(e.Digest))
			}
		}
	}
}

// A good slot is confirmed at every boot: that is nothing to tell of.
func TestConfirmAgainIsNoEvent(t *testing.T) {
	d := both(t)
	events := len(d.s.Events)
	for range 5 {
		d.boot()
		d.up()
	}
	if got := len(d.s.Events); got != events {
		t.Errorf("%d events after ten more boots; want %d", got, events)
	}
}

func TestMarkBad(t *testing.T) {
	d := both(t)
	d.must(d.s.MarkBad(slotB, "too slow"))
	e := d.s.Slot(slotB)
	if e.Status != bootctl.Bad || e.LastFailure != "marked bad: too slow" || !d.s.IsDenied("sha256:2222") {
		t.Errorf("slot is %+v, denied %v; want bad, with the reason, denied", *e, d.s.IsDenied("sha256:2222"))
	}
	if want := "slot b (2) marked bad: too slow"; d.s.Fallback != want {
		t.Errorf("Fallback = %q; want %q", d.s.Fallback, want)
	}
	for name, run := range map[string]func() error{
		"the only good slot": func() error { _, err := d.s.MarkBad(slotA, ""); return err },
		"an empty slot":      func() error { _, err := fresh(t).s.MarkBad(slotB, ""); return err },
		"recovery":           func() error { _, err := d.s.MarkBad(recovery, ""); return err },
		"confirm after it":   func() error { _, err := d.s.Confirm(slotB); return err },
	} {
		refused(t, name, run())
	}
	d = both(t)
	d.must(d.s.MarkBad(slotA, ""))
	if d.s.Fallback != "" || d.s.Active() != slotB {
		t.Errorf("the other slot marked bad: Fallback = %q, Active() = %v; want none, b", d.s.Fallback, d.s.Active())
	}
	if got := d.s.Slot(slotA).LastFailure; got != "marked bad" {
		t.Errorf("LastFailure = %q; want marked bad", got)
	}
}

func TestRollback(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(d *device)
		want bootctl.Slot // none: refused
	}{
		{"from B that is confirmed", func(d *device) { d.apply(slotB, v2); d.up() }, slotA},
		{"from B that is tried the first time", func(d *device) { d.apply(slotB, v2); d.boot() }, slotA},
		{"from B that is tried the last time", func(d *device) { d.apply(slotB, v2); d.boots(3) }, slotA},
		{"with nothing in B", func(d *device) {}, none},
		{"with B half written", func(d *device) { d.must(d.s.BeginWrite(slotB)) }, none},
		{"with B bad", func(d *device) { d.apply(slotB, v2); d.boots(4) }, none},
		{"with B pending behind A", func(d *device) { d.apply(slotB, v2); d.rollback() }, none},
		{"with no slot that boots", func(d *device) { d.s = bootctl.New() }, none},
	} {
		d := fresh(t)
		d.up()
		tt.run(d)
		s, got, err := d.s.Rollback()
		if got != tt.want {
			t.Errorf("%s: Rollback() = %v, %v; want %v", tt.name, got, err, tt.want)
		}
		if tt.want == none {
			refused(t, tt.name, err)
		} else if s.Active() != tt.want {
			t.Errorf("%s: after Rollback() %v would boot; want %v", tt.name, s.Active(), tt.want)
		}
	}
	d := both(t)
	d.rollback()
	if e := d.s.Slot(slotB); e.Status != bootctl.Good || d.s.IsDenied(e.Digest) {
		t.Errorf("slot that was rolled back from is %s, denied %v; want good and not denied", e.Status, d.s.IsDenied(e.Digest))
	}
}

func TestDenied(t *testing.T) {
	d := fresh(t)
	d.up()
	for i := range bootctl.MaxDenied + 4 {
		d.apply(slotB, bootctl.SlotInfo{Version: fmt.Sprint(i), Digest: fmt.Sprintf("sha256:%d", i)})
		d.boots(3)
		d.up()
	}
	if len(d.s.Denied) != bootctl.MaxDenied || len(d.s.Events) != bootctl.MaxEvents {
		t.Errorf("%d denied, %d events; want %d, %d", len(d.s.Denied), len(d.s.Events), bootctl.MaxDenied, bootctl.MaxEvents)
	}
	for digest, want := range map[string]bool{"sha256:19": true, "sha256:4": true, "sha256:3": false, "": false} {
		if got := d.s.IsDenied(digest); got != want {
			t.Errorf("IsDenied(%q) = %v; want %v", digest, got, want)
		}
	}
	d.apply(slotB, bootctl.SlotInfo{Digest: "sha256:19"}) // by order of somebody who knows better
	d.up()
	if d.s.IsDenied("sha256:19") {
		t.Error("a digest that was confirmed after all is still denied")
	}
	d.apply(slotA, bootctl.SlotInfo{}) // an image without a digest
	d.boots(4)
	if slices.Contains(d.s.Denied, "") {
		t.Error("the empty digest is denied")
	}
}

func TestReset(t *testing.T) {
	d := fresh(t)
	d.s = d.s.RequestReset().RequestReset()
	for _, phase := range []bootctl.ResetPhase{bootctl.ResetWiping, bootctl.ResetWiped, bootctl.ResetNone, bootctl.ResetNone} {
		if got := d.s.Active(); got != recovery {
			t.Errorf("reset is %q: Active() = %v; want recovery", d.s.Reset, got)
		}
		d.s = d.s.AdvanceReset(phase)
		if phase == bootctl.ResetNone {
			break
		}
	}
	d.s = d.s.AdvanceReset(bootctl.ResetNone)
	want := []bootctl.Event{
		{Slot: slotA, Version: "1", Event: "installed"},
		{Event: "reset requested"},
		{Event: "reset done"},
	}
	if diff := cmp.Diff(want, d.s.Events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got := d.s.Active(); got != slotA {
		t.Errorf("after the reset Active() = %v; want a", got)
	}
}

func TestCheckBootable(t *testing.T) {
	d := staged(t)
	for slot, want := range map[bootctl.Slot]bool{slotA: true, slotB: true, recovery: true, none: false, 9: false} {
		if err := d.s.CheckBootable(slot); (err == nil) != want {
			t.Errorf("CheckBootable(%v) = %v; want bootable: %v", slot, err, want)
		}
	}
	refused(t, "an empty slot", fresh(t).s.CheckBootable(slotB))
}

func TestOrderThatCannotBeFollowedIsToldOf(t *testing.T) {
	d := fresh(t)
	d.s = d.s.SetOneShot(slotB)
	c := d.boot()
	last := d.s.Events[len(d.s.Events)-1]
	if c.Slot != slotA || last.Slot != slotB || last.Event != "order ignored" || d.s.OneShot != none {
		t.Errorf("Next() = %+v, last event %+v, OneShot = %v; want slot a and an event", c, last, d.s.OneShot)
	}
}

// FailBoot of recovery is an event and nothing else.
func TestFailBootOfRecovery(t *testing.T) {
	d := fresh(t)
	d.s = d.s.SetOneShot(recovery)
	d.boot()
	d.s = d.s.FailBoot(recovery, "no console")
	if last := d.s.Events[len(d.s.Events)-1]; last.Slot != recovery || last.Reason != "no console" {
		t.Errorf("last event is %+v", last)
	}
	if got := d.boots(2); got != "a a" {
		t.Errorf("next boots: %s; want a a", got)
	}
}
