package recovery_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery"
	"github.com/abupdate/abupdate/recovery/recoverytest"
)

// resetDisk is a device in use, with a /var and a factory reset requested.
func resetDisk(t testing.TB) *recoverytest.Disk {
	t.Helper()
	d := recoverytest.NewDisk(t, 0, false)
	s := bootctl.New()
	s = s.Install(bootctl.SlotA, d.FillSlot(t, bootctl.SlotA, "1.0"))
	s = s.Stage(bootctl.SlotB, d.FillSlot(t, bootctl.SlotB, "2.0"))
	d.SetState(t, s.RequestReset())
	v := section(t, d.Layout, partitions.LabelVar)
	old := bytes.Repeat([]byte("old data"), partitions.BlankSize/8)
	for _, off := range []int64{0, v.Size() - int64(len(old))} {
		if _, err := v.WriteAt(old, off); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func section(t testing.TB, layout *partitions.Disk, label string) blockdev.Device {
	t.Helper()
	s, err := layout.Section(label)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// finish runs a reset as the boot sequence does: from what the disk says.
func finish(t testing.TB, dev blockdev.Device) error {
	layout := recoverytest.Open(t, dev)
	store := recoverytest.Store(t, layout)
	s, err := store.Load()
	if err != nil {
		return err
	}
	if s.Reset == bootctl.ResetNone {
		return nil
	}
	_, err = recovery.FinishReset(store, section(t, layout, partitions.LabelVar), s, func() {})
	return err
}

// checkReset checks a disk on which the reset came to its end.
func checkReset(t testing.TB, dev blockdev.Device, before bootctl.State) {
	t.Helper()
	layout := recoverytest.Open(t, dev)
	s, err := recoverytest.Store(t, layout).Load()
	if err != nil {
		t.Fatal(err)
	}
	if s.Reset != bootctl.ResetNone || !s.MakingVar {
		t.Errorf("reset is %q, var to be made %v; want it done, and var to be made", s.Reset, s.MakingVar)
	}
	if s.Slots != before.Slots {
		t.Errorf("slots = %+v; want them as they were, %+v", s.Slots, before.Slots)
	}
	if n := len(s.Events); n == 0 || s.Events[n-1].Event != "reset done" {
		t.Errorf("events = %+v; want the last one to tell of the reset", s.Events)
	}
	blank, err := partitions.IsBlank(section(t, layout, partitions.LabelVar))
	if err != nil || !blank {
		t.Errorf("IsBlank(var) = %v, %v; want true", blank, err)
	}
	for slot, version := range map[bootctl.Slot]string{bootctl.SlotA: "1.0", bootctl.SlotB: "2.0"} {
		checkSlot(t, layout, slot, version)
	}
}

func TestFactoryResetSurvivesEveryCut(t *testing.T) {
	d := resetDisk(t)
	before := d.State(t)
	rec := blockdevtest.NewRecorder(d.Dev)
	if err := finish(t, rec); err != nil {
		t.Fatal(err)
	}
	rec.Mark("done")
	n := 0
	for img, cut := range rec.Crashes() {
		n++
		s, err := recoverytest.Store(t, recoverytest.Open(t, img)).Load()
		if err != nil {
			t.Fatalf("cut %v: Load() = %v", cut, err)
		}
		if s.Reset == bootctl.ResetNone && !s.MakingVar {
			t.Fatalf("cut %v: the reset counts as done and the old /var as good", cut)
		}
		if choice, _ := s.Next(); choice.Slot.IsRoot() && s.Reset != bootctl.ResetNone {
			t.Fatalf("cut %v: slot %v boots before the reset is done", cut, choice.Slot)
		}
		if cut.Reached("done") && s.Reset != bootctl.ResetNone {
			t.Fatalf("cut %v: reset is %q", cut, s.Reset)
		}
		if err := finish(t, img); err != nil {
			t.Fatalf("cut %v: finishing at the next boot: %v", cut, err)
		}
		checkReset(t, img, before)
		if t.Failed() {
			t.Fatalf("the above after cut %v", cut)
		}
	}
	if n < 100 {
		t.Errorf("only %d cuts; want every write of the reset among them", n)
	}
	t.Logf("%d cuts", n)
}

// A reset that cannot write says so and is finished when the disk works again.
func TestFactoryResetFinishesAfterErrors(t *testing.T) {
	for n := 1; ; n++ {
		d := resetDisk(t)
		before := d.State(t)
		inj := blockdevtest.Inject(d.Dev, blockdevtest.Faults{Write: n, Onwards: true})
		err := finish(t, inj)
		if !inj.Hit() {
			if err != nil || n < 4 {
				t.Errorf("the reset took %d writes and gave %v; want several and no error", n-1, err)
			}
			return
		}
		if err == nil {
			t.Fatalf("write %d failed and the reset did not say so", n)
		}
		if err := finish(t, d.Dev); err != nil {
			t.Fatalf("after write %d failed: %v", n, err)
		}
		checkReset(t, d.Dev, before)
	}
}

func TestFactoryResetWithoutVar(t *testing.T) {
	d := resetDisk(t)
	s, err := recovery.FinishReset(recoverytest.Store(t, d.Layout), nil, d.State(t), func() {})
	if err != nil || s.Reset != bootctl.ResetNone || s.MakingVar {
		t.Errorf("FinishReset() = reset %q, making var %v, %v; want it done with nothing to make", s.Reset, s.MakingVar, err)
	}
	if got := d.State(t); !got.Equal(s) {
		t.Errorf("saved %+v; want what was returned, %+v", got, s)
	}
}

type brokenStore struct{}

func (brokenStore) Save(bootctl.State) error { return errors.New("no") }

// Nothing of /var is touched before the intent is saved.
func TestFactoryResetSavesIntentFirst(t *testing.T) {
	d := resetDisk(t)
	rec := blockdevtest.NewRecorder(section(t, d.Layout, partitions.LabelVar))
	if _, err := recovery.FinishReset(brokenStore{}, rec, d.State(t), func() {}); err == nil {
		t.Error("FinishReset() = nil with a store that does not save")
	}
	if n := rec.Writes(); n != 0 {
		t.Errorf("%d writes to var without a saved intent", n)
	}
}
