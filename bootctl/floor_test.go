package bootctl_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
)

func version(v string) bootctl.SlotInfo {
	return bootctl.SlotInfo{Version: v, Digest: "sha256:" + v}
}

func downgrade(v string) bootctl.SlotInfo {
	info := version(v)
	info.Downgrade = true
	return info
}

func TestFloor(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(d *device) // from a new disk with version 1
		want string
	}{
		{"a new disk has none", func(d *device) {}, ""},
		{"the first confirmation sets it", func(d *device) { d.up() }, "1"},
		{"a version that is staged does not count", func(d *device) { d.up(); d.apply(slotB, v2) }, "1"},
		{"nor one that is held", func(d *device) { d.up(); d.hold(slotB, v2) }, "1"},
		{"nor one that boots", func(d *device) { d.up(); d.apply(slotB, v2); d.boot() }, "1"},
		{"nor one that falls back", func(d *device) { d.up(); d.apply(slotB, v2); d.boots(3); d.up() }, "1"},
		{"a version that is confirmed does", func(d *device) { d.up(); d.apply(slotB, v2); d.up() }, "2"},
		{"numbers are compared as such", func(d *device) {
			d.up()
			d.apply(slotB, version("9"))
			d.up()
			d.apply(slotA, version("10"))
			d.up()
		}, "10"},
		{"a rollback leaves it", func(d *device) { d.up(); d.apply(slotB, v2); d.up(); d.rollback(); d.up() }, "2"},
		{"a lower version that is confirmed leaves it", func(d *device) { d.up(); d.apply(slotB, v2); d.up(); d.apply(slotA, v1); d.up() }, "2"},
		{"a downgrade leaves it until it is confirmed", func(d *device) {
			d.up()
			d.apply(slotB, v2)
			d.up()
			d.apply(slotA, downgrade("1"))
			d.boot()
		}, "2"},
		{"a downgrade lowers it when it is confirmed", func(d *device) {
			d.up()
			d.apply(slotB, v2)
			d.up()
			d.apply(slotA, downgrade("1"))
			d.up()
		}, "1"},
		{"a downgrade lowers it once", func(d *device) {
			d.up()
			d.apply(slotB, v2)
			d.up()
			d.apply(slotA, downgrade("1"))
			d.up()
			d.apply(slotB, version("3"))
			d.up()
			d.rollback()
			d.up()
		}, "3"},
		{"a downgrade that was held and retried is still one", func(d *device) {
			d.up()
			d.apply(slotB, v2)
			d.up()
			d.hold(slotA, downgrade("1"))
			d.s = d.s.Stage(slotA, d.s.Slot(slotA).Info())
			d.up()
		}, "1"},
		{"a version made from a digest has no order", func(d *device) { d.up(); d.apply(slotB, version("sha256.0123456789ab")); d.up() }, "1"},
		{"no version has none either", func(d *device) { d.up(); d.apply(slotB, bootctl.SlotInfo{}); d.up() }, "1"},
		{"a restored golden image leaves it", func(d *device) {
			d.up()
			d.apply(slotB, v2)
			d.up()
			d.s = d.s.BeginRestore(slotA).Install(slotA, v1)
			d.up()
		}, "2"},
		{"a factory reset leaves it", func(d *device) {
			d.up()
			d.s = d.s.RequestReset().AdvanceReset(bootctl.ResetWiping).AdvanceReset(bootctl.ResetWiped).AdvanceReset(bootctl.ResetNone)
		}, "1"},
		{"records that were lost: the lowest version that is there", func(d *device) {
			d.s = bootctl.Rebuild(found(slotA, "3", ""), found(slotB, "2", ""))
		}, "2"},
		{"records that were lost, one version without an order", func(d *device) {
			d.s = bootctl.Rebuild(found(slotA, "3", ""), found(slotB, "sha256.0123456789ab", ""))
		}, "3"},
	} {
		d := fresh(t)
		tt.run(d)
		if d.s = load(t, formatted(t, d.s)); d.s.Floor != tt.want {
			t.Errorf("%s: Floor = %q; want %q", tt.name, d.s.Floor, tt.want)
		}
	}
}

func TestCheckFloor(t *testing.T) {
	for _, tt := range []struct {
		floor, version string
		allow          bool
	}{
		{"", "0.1", true},
		{"2", "2", true},
		{"2", "10", true},
		{"2", "1.9", false},
		{"2", "2~rc1", false},
		{"2", "sha256.0123456789ab", true},
		{"2", "", true},
	} {
		s := bootctl.State{Floor: tt.floor}
		err := s.CheckFloor(tt.version)
		if (err == nil) != tt.allow || s.BelowFloor(tt.version) == tt.allow {
			t.Errorf("floor %q: CheckFloor(%q) = %v, BelowFloor = %v; want allowed: %v", tt.floor, tt.version, err, s.BelowFloor(tt.version), tt.allow)
		}
		if err != nil {
			refused(t, tt.version, err)
		}
	}
}

// Whatever happens, the floor is the highest version that was ever confirmed,
// unless a lower one was confirmed that an operator wanted.
func TestFloorNeverSinksByItself(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	lowered, confirmed := 0, 0
	for range 300 {
		d := fresh(t)
		want := ""
		for range 60 {
			if want = d.randomStep(rnd, want, &confirmed, &lowered); d.s.Floor != want {
				t.Fatalf("Floor = %q; want %q: %+v", d.s.Floor, want, d.s)
			}
		}
		if got := load(t, formatted(t, d.s)); !got.Equal(d.s) {
			t.Fatalf("state after Save and Load is %+v; want %+v", got, d.s)
		}
	}
	if confirmed < 1000 || lowered < 100 {
		t.Errorf("%d confirmations, %d of them lowered the floor: too few to prove anything", confirmed, lowered)
	}
}

// randomStep does something and returns what the floor must be then.
func (d *device) randomStep(rnd *rand.Rand, want string, confirmed, lowered *int) string {
	slot := slotA + bootctl.Slot(rnd.IntN(2))
	switch rnd.IntN(9) {
	case 0, 1, 2, 3:
		c := d.boot()
		e := bootctl.SlotState{}
		if c.Slot.IsRoot() {
			e = *d.s.Slot(c.Slot)
		}
		s, err := d.s.Confirm(c.Slot)
		if err != nil || rnd.IntN(4) == 0 {
			return want
		}
		d.s = s
		*confirmed++
		if e.Downgrade && bootctl.CompareVersions(e.Version, want) < 0 {
			*lowered++
			return e.Version
		}
		if want == "" || bootctl.CompareVersions(e.Version, want) > 0 {
			return e.Version
		}
	case 4, 5, 6:
		info := version(fmt.Sprint(rnd.IntN(20)))
		info.Downgrade = rnd.IntN(3) == 0
		if s, err := d.s.BeginWrite(slot); err == nil {
			if d.s = s.Stage(slot, info); rnd.IntN(3) == 0 {
				d.s = s.Hold(slot, info)
			}
		}
	case 7:
		if s, _, err := d.s.Rollback(); err == nil {
			d.s = s
		}
	case 8:
		if s, err := d.s.MarkBad(slot, "x"); err == nil {
			d.s = s
		} else if s, _, err := d.s.Cancel(slot); err == nil {
			d.s = s
		}
	}
	return want
}

func TestHold(t *testing.T) {
	d := fresh(t)
	d.up()
	d.hold(slotB, downgrade("2"))
	d.s = load(t, formatted(t, d.s))
	want := bootctl.SlotState{Status: bootctl.Held, Version: "2", Digest: "sha256:2", Downgrade: true}
	if diff := cmp.Diff(want, *d.s.Slot(slotB)); diff != "" {
		t.Errorf("held slot (-want +got):\n%s", diff)
	}
	if d.s.Active() != slotA || d.s.Staged(slotA) != slotB || d.s.CheckBootable(slotB) != nil {
		t.Errorf("Active() = %v, Staged() = %v, CheckBootable() = %v; want a, b, nil", d.s.Active(), d.s.Staged(slotA), d.s.CheckBootable(slotB))
	}
	if err := d.s.CanApply(slotA); err != nil {
		t.Errorf("CanApply() = %v; want nil", err)
	}
	if s := d.s.Hold(recovery, v1); !s.Equal(d.s) {
		t.Error("holding the recovery slot changed the state")
	}
	d.apply(slotB, version("3")) // a newer one takes its place
	if got := d.up(); got != slotB {
		t.Errorf("slot %v boots; want b", got)
	}
}

// A program that knows nothing of held slots takes one for a bad one: it
// accepts the record and leaves the slot alone.
func TestHeldSlotForAnOlderProgram(t *testing.T) {
	d := fresh(t)
	d.up()
	d.hold(slotB, v2)
	payload := formatted(t, d.s).Bytes()[32:bootctl.RecordSize]
	var old struct {
		Slots []struct {
			Status string `json:"status"`
			Order  int    `json:"order"`
		} `json:"slots"`
		LastBoot struct {
			Slot string `json:"slot"`
		} `json:"last_boot"`
	}
	if err := json.Unmarshal(payload[:lastByte(payload)+1], &old); err != nil {
		t.Fatal(err)
	}
	if len(old.Slots) != 2 || old.Slots[0].Status != "good" || old.Slots[1].Status != "bad" || old.Slots[1].Order != 0 || old.LastBoot.Slot != "a" {
		t.Errorf("record is %+v; want slot b bad and not preferred", old)
	}
}

// lastByte is the index of the last byte that is not zero.
func lastByte(b []byte) int {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0 {
			return i
		}
	}
	return -1
}

func TestCancel(t *testing.T) {
	for _, tt := range []struct {
		name   string
		run    func(d *device)
		booted bootctl.Slot
		want   bootctl.Slot
		kind   fault.Kind
	}{
		{"nothing waits", func(d *device) {}, slotA, none, fault.Nothing},
		{"a staged update", func(d *device) { d.apply(slotB, v2) }, slotA, slotB, 0},
		{"a held update", func(d *device) { d.hold(slotB, v2) }, slotA, slotB, 0},
		{"a held update on a disk that does not run", func(d *device) { d.hold(slotB, v2) }, none, slotB, 0},
		{"again", func(d *device) { d.apply(slotB, v2); d.cancel(slotA) }, slotA, none, fault.Nothing},
		{"one that is being written", func(d *device) { d.must(d.s.BeginWrite(slotB)) }, slotA, none, fault.Nothing},
		{"one that was confirmed", func(d *device) { d.apply(slotB, v2); d.up() }, slotB, none, fault.Nothing},
		{"one that fell back", func(d *device) { d.apply(slotB, v2); d.boots(4) }, slotA, none, fault.Nothing},
		{"one that runs", func(d *device) { d.apply(slotB, v2); d.boot() }, slotB, none, fault.Refused},
		{"one that was rolled back from", func(d *device) { d.apply(slotB, v2); d.rollback() }, slotA, slotB, 0},
		{"a staged update beside nothing", func(d *device) { d.s = bootctl.New().Stage(slotB, v2) }, none, none, fault.Refused},
		{"a held update beside nothing", func(d *device) { d.s = bootctl.New().Hold(slotB, v2) }, none, slotB, 0},
		{"what was found in the slots is no update", func(d *device) {
			d.s = bootctl.Rebuild(found(slotA, "3", ""), found(slotB, "2", ""))
			d.up()
		}, slotA, none, fault.Nothing},
		{"during a factory reset", func(d *device) { d.apply(slotB, v2); d.s = d.s.RequestReset() }, slotA, slotB, 0},
	} {
		d := fresh(t)
		d.up()
		tt.run(d)
		s, got, err := d.s.Cancel(tt.booted)
		if got != tt.want || fault.KindOf(err) != tt.kind {
			t.Errorf("%s: Cancel(%v) = %v, %v; want %v, kind %d", tt.name, tt.booted, got, err, tt.want, tt.kind)
		}
		if err != nil {
			if !s.Equal(d.s) {
				t.Errorf("%s: refused, and the state changed", tt.name)
			}
			continue
		}
		if e := *s.Slot(got); e.Status != bootctl.Writing || e.LastFailure != "canceled" || s.IsDenied(v2.Digest) {
			t.Errorf("%s: slot is %+v, denied %v; want it being written, not denied", tt.name, e, s.IsDenied(v2.Digest))
		}
	}
}

// A slot that is kept tells so, once, and is not overwritten.
func TestKeptSlot(t *testing.T) {
	d := fresh(t)
	d.up()
	d.boots(30)
	kept := 0
	for _, e := range d.s.Events {
		if e.Event == "kept" {
			kept++
		}
	}
	e := d.s.Slot(slotA)
	if kept != 1 || !e.Kept || e.Status != bootctl.Good || d.s.Fallback != "" {
		t.Errorf("%d events, slot is %+v, Fallback = %q; want one, kept, none", kept, *e, d.s.Fallback)
	}
	if _, err := d.s.BeginWrite(slotA); err == nil {
		t.Error("the only slot that boots may be overwritten")
	}
	if _, err := d.s.MarkBad(slotA, ""); err == nil {
		t.Error("the only slot that boots may be marked bad")
	}
	if got := d.s.Inactive(none); got != slotB {
		t.Errorf("Inactive() = %v; want b", got)
	}
	if d.up(); d.s.Slot(slotA).Kept {
		t.Error("the slot is kept still when it was confirmed")
	}
}
