package bootctl_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
)

var (
	v1 = bootctl.SlotInfo{Version: "1", Digest: "sha256:1111", RootHash: "11", Image: "docker://host/os:1"}
	v2 = bootctl.SlotInfo{Version: "2", Digest: "sha256:2222", RootHash: "22", Image: "docker://host/os:2"}
)

// device is a State that a test drives; the state must allow what it asks for.
type device struct {
	t *testing.T
	s bootctl.State
}

// fresh is a new disk: A good, B empty.
func fresh(t *testing.T) *device {
	return &device{t, bootctl.New().Install(bootctl.SlotA, v1)}
}

// staged is a device whose update to B waits for its first boot.
func staged(t *testing.T) *device {
	d := fresh(t)
	d.up()
	d.apply(bootctl.SlotB, v2)
	return d
}

func (d *device) boot() bootctl.Choice {
	c, s := d.s.Next()
	d.s = s
	return c
}

// boots returns the slots of n boots that nobody confirms.
func (d *device) boots(n int) string {
	var slots []string
	for range n {
		slots = append(slots, d.boot().Slot.String())
	}
	return strings.Join(slots, " ")
}

func (d *device) must(s bootctl.State, err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
	d.s = s
}

// up boots and confirms.
func (d *device) up() bootctl.Slot {
	d.t.Helper()
	c := d.boot()
	d.must(d.s.Confirm(c.Slot))
	return c.Slot
}

func (d *device) apply(slot bootctl.Slot, info bootctl.SlotInfo) {
	d.t.Helper()
	d.must(d.s.BeginWrite(slot))
	d.s = d.s.Stage(slot, info)
}

func (d *device) hold(slot bootctl.Slot, info bootctl.SlotInfo) {
	d.t.Helper()
	d.must(d.s.BeginWrite(slot))
	d.s = d.s.Hold(slot, info)
}

func (d *device) cancel(booted bootctl.Slot) bootctl.Slot {
	d.t.Helper()
	s, slot, err := d.s.Cancel(booted)
	d.must(s, err)
	return slot
}

// fail boots n times, and it is known why each failed.
func (d *device) fail(n int, reason string) {
	for range n {
		d.s = d.s.FailBoot(d.boot().Slot, reason)
	}
}

func (d *device) rollback() bootctl.Slot {
	d.t.Helper()
	s, slot, err := d.s.Rollback()
	d.must(s, err)
	return slot
}

// both is a device with 2 in B confirmed, and 1 in A.
func both(t *testing.T) *device {
	d := staged(t)
	d.up()
	return d
}

const eightAs = "a a a a a a a a"

func TestNext(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(d *device)
		want string // the next boots, none of them confirmed
	}{
		{"a new disk boots A, and after 8 boots that nobody ever confirms it is recovery, for good",
			func(d *device) { d.s = bootctl.New().Install(bootctl.SlotA, v1) }, eightAs + " recovery recovery"},
		{"a slot that was confirmed once stays when there is no other one",
			func(d *device) {}, eightAs + " " + eightAs + " a a"},
		{"a slot that was confirmed once stays when the other one is held",
			func(d *device) { d.hold(bootctl.SlotB, v2) }, eightAs + " " + eightAs + " a a"},
		{"a slot that was confirmed once stays when the other one was rolled back from before its first boot",
			func(d *device) { d.apply(bootctl.SlotB, v2); d.rollback() }, eightAs + " a a"},
		{"a slot of which it is known that it failed 16 times is left",
			func(d *device) { d.fail(16, "no /usr") }, "recovery recovery"},
		{"a slot of which it is known that it failed goes on, when it comes up in between",
			func(d *device) { d.fail(8, "no /usr"); d.boot(); d.fail(7, "no /usr"); d.boot(); d.fail(7, "no /usr") }, "a"},
		{"a confirmed boot begins the count of 8 anew",
			func(d *device) { d.apply(bootctl.SlotB, v2); d.up(); d.boots(7); d.up() }, "b b b b b b b b a"},
		{"a staged slot is tried three times, then the old one boots",
			func(d *device) { d.apply(bootctl.SlotB, v2) }, "b b b " + eightAs + " a"},
		{"a held slot is not booted",
			func(d *device) { d.hold(bootctl.SlotB, v2) }, "a a"},
		{"a held slot boots when ordered, and only then",
			func(d *device) { d.hold(bootctl.SlotB, v2); d.s = d.s.SetOneShot(bootctl.SlotB) }, "b a a"},
		{"a held slot that is switched to is tried three times",
			func(d *device) { d.hold(bootctl.SlotB, v2); d.s = d.s.Stage(bootctl.SlotB, v2) }, "b b b a"},
		{"an update that was taken back is not booted",
			func(d *device) { d.apply(bootctl.SlotB, v2); d.cancel(bootctl.SlotA) }, "a a"},
		{"an update that was tried once and then taken back is not booted",
			func(d *device) {
				d.apply(bootctl.SlotB, v2)
				d.boot()
				d.s = d.s.SetOneShot(bootctl.SlotA)
				d.boot()
				d.cancel(bootctl.SlotA)
			}, "a a"},
		{"a power cut during the first try leaves two",
			func(d *device) { d.apply(bootctl.SlotB, v2); d.boot() }, "b b a"},
		{"a confirmed update stays",
			func(d *device) { d.apply(bootctl.SlotB, v2); d.boot(); d.up() }, "b b b b b b b b a"},
		{"both slots good and nobody confirms: 8 boots of each, and the one that is there then stays",
			func(d *device) { d.apply(bootctl.SlotB, v2); d.up() }, "b b b b b b b b " + eightAs + " a a"},
		{"when the one that took over was never confirmed, it is the first one again that stays",
			func(d *device) { d.s = d.s.Install(bootctl.SlotB, v1) }, eightAs + " b b b b b b b b a a"},
		{"a slot that is being written never boots, not even by order",
			func(d *device) { d.must(d.s.BeginWrite(bootctl.SlotB)); d.s = d.s.SetOneShot(bootctl.SlotB) }, "a a"},
		{"an aborted write leaves the slot empty",
			func(d *device) {
				d.must(d.s.BeginWrite(bootctl.SlotB))
				d.s = d.s.AbortWrite(bootctl.SlotB, "no room").SetOneShot(bootctl.SlotB)
			}, "a a"},
		{"an order counts for one boot",
			func(d *device) { d.apply(bootctl.SlotB, v2); d.up(); d.s = d.s.SetOneShot(bootctl.SlotA) }, "a b b"},
		{"a boot that was ordered is not held against the slot",
			func(d *device) { d.apply(bootctl.SlotB, v2); d.up(); d.boots(7); d.s = d.s.SetOneShot(bootctl.SlotB) }, "b b a"},
		{"a slot that yielded stays behind, also when it is ordered and confirmed",
			func(d *device) {
				d.apply(bootctl.SlotB, v2)
				d.up()
				d.boots(8) // B yields
				d.up()
				d.s = d.s.SetOneShot(bootctl.SlotB)
				d.up()
			}, "a a"},
		{"an order of a pending slot takes no try",
			func(d *device) { d.apply(bootctl.SlotB, v2); d.s = d.s.SetOneShot(bootctl.SlotB) }, "b b b b a"},
		{"a bad slot boots when ordered, and only then",
			func(d *device) {
				d.apply(bootctl.SlotB, v2)
				d.boots(4)
				d.s = d.s.SetOneShot(bootctl.SlotB)
			}, "b a a"},
		{"a bad slot that is ordered and confirmed stays behind the one that did not fail",
			func(d *device) {
				d.apply(bootctl.SlotB, v2)
				d.boots(4)
				d.s = d.s.SetOneShot(bootctl.SlotB)
				d.up()
			}, "a a"},
		{"the order to boot recovery",
			func(d *device) { d.s = d.s.SetOneShot(bootctl.SlotRecovery) }, "recovery a a"},
		{"an order can be taken back",
			func(d *device) { d.s = d.s.SetOneShot(bootctl.SlotRecovery).SetOneShot(bootctl.SlotNone) }, "a"},
		{"a reset goes to recovery until it is done",
			func(d *device) { d.s = d.s.RequestReset() }, "recovery recovery recovery"},
		{"a reset leaves an order for the boot after it",
			func(d *device) {
				d.apply(bootctl.SlotB, v2)
				d.s = d.s.SetOneShot(bootctl.SlotA).RequestReset()
				d.boot()
				d.s = d.s.AdvanceReset(bootctl.ResetWiping).AdvanceReset(bootctl.ResetWiped).AdvanceReset(bootctl.ResetNone)
			}, "a b b b a"},
		{"the boot that a reset interrupts is counted once",
			func(d *device) {
				d.apply(bootctl.SlotB, v2)
				d.boot()
				d.s = d.s.RequestReset()
				d.boots(2)
				d.s = d.s.AdvanceReset(bootctl.ResetNone)
			}, "b b a"},
		{"rollback boots the old slot until it fails 8 times",
			func(d *device) { d.apply(bootctl.SlotB, v2); d.up(); d.rollback() }, eightAs + " b"},
		{"two rollbacks are none",
			func(d *device) { d.apply(bootctl.SlotB, v2); d.up(); d.rollback(); d.rollback() }, "b"},
		{"rollback before the reboot takes the update back",
			func(d *device) { d.apply(bootctl.SlotB, v2); d.rollback() }, "a a a a"},
		{"rollback while the update runs for the first time",
			func(d *device) { d.apply(bootctl.SlotB, v2); d.boot(); d.rollback() }, "a a a a"},
		{"rollback takes an order back",
			func(d *device) {
				d.apply(bootctl.SlotB, v2)
				d.s = d.s.SetOneShot(bootctl.SlotB)
				d.rollback()
			}, "a"},
		{"rollback to a slot that yielded gives it 8 boots again",
			func(d *device) {
				d.apply(bootctl.SlotB, v2)
				d.up()
				d.boots(8) // B yields
				d.up()
				d.rollback()
			}, "b b b b b b b b a"},
		{"a slot that is marked bad is left at once",
			func(d *device) {
				d.apply(bootctl.SlotB, v2)
				d.up()
				d.must(d.s.MarkBad(bootctl.SlotB, "too slow"))
			}, "a a"},
		{"a slot of which the initramfs says that it failed is tried as often",
			func(d *device) {
				d.apply(bootctl.SlotB, v2)
				d.boot()
				d.s = d.s.FailBoot(bootctl.SlotB, "no /sbin/init")
			}, "b b a"},
		{"a good slot that yielded is not come back to by itself",
			func(d *device) {
				d.apply(bootctl.SlotB, v2)
				d.up()
				d.boots(9) // eight of B, one of A
				d.must(d.s.Confirm(bootctl.SlotA))
			}, eightAs + " a"},
		{"after a good slot yielded, the one that took over has its own 8 boots",
			func(d *device) { d.apply(bootctl.SlotB, v2); d.up(); d.boots(8) }, eightAs + " a"},
		{"recovery restores A, which boots",
			func(d *device) {
				d.fail(17, "no /usr")
				d.s = d.s.BeginRestore(bootctl.SlotA).Install(bootctl.SlotA, v1)
			}, eightAs + " recovery"},
		{"a restored A boots before a B that is good",
			func(d *device) {
				d.apply(bootctl.SlotB, v2)
				d.up()
				d.s = d.s.BeginRestore(bootctl.SlotA).Install(bootctl.SlotA, v1)
			}, "a"},
		{"retry from recovery boots the slot once",
			func(d *device) { d.fail(17, "no /usr"); d.s = d.s.SetOneShot(bootctl.SlotA) }, "a recovery"},
		{"a retry from recovery that is confirmed makes the slot good again",
			func(d *device) { d.fail(17, "no /usr"); d.s = d.s.SetOneShot(bootctl.SlotA); d.up() }, eightAs + " a"},
		{"two empty slots: recovery",
			func(d *device) { d.s = bootctl.New() }, "recovery"},
		{"a disk made with both slots boots A first",
			func(d *device) { d.s = bootctl.New().Install(bootctl.SlotA, v1).Install(bootctl.SlotB, v1) }, eightAs + " b"},
		{"content that replaced what failed is not blamed for it",
			func(d *device) {
				d.apply(bootctl.SlotB, v2)
				d.boots(3)
				d.apply(bootctl.SlotB, v2) // to the disk, while it is off
			}, "b b b a"},
	} {
		d := fresh(t)
		d.up()
		tt.run(d)
		if got := d.boots(strings.Count(tt.want, " ") + 1); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// Next is what makes boots count, so its State is looked at whole.
func TestNextState(t *testing.T) {
	d := staged(t)
	c := d.boot()
	if want := (bootctl.Choice{Slot: bootctl.SlotB, Reason: "try 1", Try: 1}); c != want {
		t.Errorf("first boot: Next() = %+v; want %+v", c, want)
	}
	d.s = d.s.FailBoot(bootctl.SlotB, "no /sbin/init")
	if c := d.boot(); c.Try != 2 {
		t.Errorf("second boot: Next() = %+v; want try 2", c)
	}
	d.boot()
	c = d.boot()
	fallback := "slot b (2) not confirmed in any try"
	if want := (bootctl.Choice{Slot: bootctl.SlotA, Reason: "good, fallback: " + fallback}); c != want {
		t.Errorf("fourth boot: Next() = %+v; want %+v", c, want)
	}
	want := bootctl.State{
		Slots: [2]bootctl.SlotState{
			{Status: bootctl.Good, Order: 1, Version: "1", Digest: "sha256:1111", RootHash: "11", Image: "docker://host/os:1", Proven: true},
			{Status: bootctl.Bad, Version: "2", Digest: "sha256:2222", RootHash: "22", Image: "docker://host/os:2",
				FailedBoots: 3, LastFailure: "was started and not confirmed"},
		},
		Denied: []string{"sha256:2222"},
		Events: []bootctl.Event{
			{Slot: bootctl.SlotA, Version: "1", Event: "installed"},
			{Slot: bootctl.SlotB, Version: "2", Event: "staged"},
			{Slot: bootctl.SlotB, Version: "2", Event: "boot failed", Reason: "no /sbin/init"},
			{Slot: bootctl.SlotB, Version: "2", Event: "boot failed", Reason: "was started and not confirmed"},
			{Slot: bootctl.SlotB, Version: "2", Event: "boot failed", Reason: "was started and not confirmed"},
			{Slot: bootctl.SlotB, Version: "2", Event: "gave up", Reason: "not confirmed in any try"},
		},
		LastBoot: bootctl.Boot{Slot: bootctl.SlotA, Reason: "good, fallback: " + fallback},
		Fallback: fallback,
		Floor:    "1",
	}
	if diff := cmp.Diff(want, d.s); diff != "" {
		t.Errorf("state after the fallback (-want +got):\n%s", diff)
	}
}

func TestFallbackSaysWhy(t *testing.T) {
	d := staged(t)
	for range 3 {
		d.boot()
		d.s = d.s.FailBoot(bootctl.SlotB, "mounting /dev/dm-0: input/output error")
	}
	d.boot()
	want := "slot b (2) not confirmed in any try: mounting /dev/dm-0: input/output error"
	if d.s.Fallback != want {
		t.Errorf("Fallback = %q; want %q", d.s.Fallback, want)
	}
}

// A fallback is said until what was fallen back from is replaced by something
// that works, or somebody orders what to run.
func TestFallbackLasts(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(d *device)
		want bool
	}{
		{"at once", func(d *device) {}, true},
		{"when the old slot is confirmed", func(d *device) { d.up() }, true},
		{"boot after boot", func(d *device) { d.up(); d.up(); d.up() }, true},
		{"while the next update is being written", func(d *device) { d.up(); d.must(d.s.BeginWrite(bootctl.SlotB)) }, true},
		{"when the next update is staged", func(d *device) { d.up(); d.apply(bootctl.SlotB, v2) }, true},
		{"until the next update is confirmed", func(d *device) { d.up(); d.apply(bootctl.SlotB, v2); d.up() }, false},
		{"until an old image is restored", func(d *device) { d.s = d.s.BeginRestore(bootctl.SlotB).Install(bootctl.SlotB, v1) }, false},
		{"until the one that failed is confirmed by order", func(d *device) { d.s = d.s.SetOneShot(bootctl.SlotB); d.up() }, false},
	} {
		d := staged(t)
		d.boots(4)
		tt.run(d)
		if got := d.s.Fallback != ""; got != tt.want {
			t.Errorf("%s: Fallback = %q; want one: %v", tt.name, d.s.Fallback, tt.want)
		}
	}
	t.Run("until rollback chooses the slot", func(t *testing.T) {
		d := both(t)
		d.boots(9) // B yields to A
		if d.s.Fallback == "" {
			t.Error("B yielded silently")
		}
		d.rollback()
		if d.s.Fallback != "" {
			t.Errorf("Fallback = %q after rollback; want none", d.s.Fallback)
		}
	})
	t.Run("until a slot that was given up is confirmed", func(t *testing.T) {
		d := fresh(t)
		d.boots(9)
		if d.s.Fallback == "" {
			t.Error("recovery was reached silently")
		}
		d.s = d.s.SetOneShot(bootctl.SlotA)
		d.up()
		if d.s.Fallback != "" {
			t.Errorf("Fallback = %q; want none", d.s.Fallback)
		}
	})
}

func TestRecoverySaysWhy(t *testing.T) {
	d := staged(t)
	d.s.Slot(bootctl.SlotA).Proven = false
	d.boots(11)
	c := d.boot()
	want := "no slot boots: a is good but was not confirmed 8 times, b is bad"
	if c.Slot != bootctl.SlotRecovery || c.Reason != want {
		t.Errorf("Next() = %+v; want recovery, %s", c, want)
	}
	events := len(d.s.Events)
	d.boots(3)
	if len(d.s.Events) != events {
		t.Errorf("%d events after three more boots of recovery; want %d", len(d.s.Events), events)
	}
}

// The pure methods must leave the State alone that they are called on, also
// what its slices point to.
func TestStatesAreValues(t *testing.T) {
	d := staged(t)
	for range 3 {
		d.boot()
		d.s = d.s.FailBoot(bootctl.SlotB, "x")
	}
	s := d.s
	before := fmt.Sprintf("%+v", s)
	_, _ = s.Next()
	_, _ = s.BeginWrite(bootctl.SlotB)
	_, _ = s.Confirm(bootctl.SlotB)
	_, _ = s.MarkBad(bootctl.SlotB, "x")
	_, _, _ = s.Rollback()
	_ = s.BeginRestore(bootctl.SlotA).AbortWrite(bootctl.SlotA, "x")
	_ = s.Stage(bootctl.SlotA, v1)
	_ = s.Hold(bootctl.SlotB, v2)
	_, _, _ = s.Cancel(bootctl.SlotA)
	_ = s.Install(bootctl.SlotA, v2)
	_ = s.SetOneShot(bootctl.SlotA)
	_ = s.FailBoot(bootctl.SlotA, "x")
	_ = s.RequestReset().AdvanceReset(bootctl.ResetNone)
	_ = s.Active()
	if after := fmt.Sprintf("%+v", s); after != before {
		t.Errorf("state was changed:\n got %s\nwant %s", after, before)
	}
	a, b := s.FailBoot(bootctl.SlotA, "a"), s.FailBoot(bootctl.SlotA, "b")
	if a.Events[len(a.Events)-1].Reason != "a" || b.Events[len(b.Events)-1].Reason != "b" {
		t.Error("two states made from one share their events")
	}
}

func refused(t *testing.T, what string, err error) {
	t.Helper()
	if fault.KindOf(err) != fault.Refused {
		t.Errorf("%s: error is %v; want one of kind Refused", what, err)
	}
}
