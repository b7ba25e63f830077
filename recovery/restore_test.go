package recovery_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery"
	"github.com/abupdate/abupdate/recovery/recoverytest"
)

// checkSlot checks that a slot holds a version, to its last block.
func checkSlot(t testing.TB, layout *partitions.Disk, slot bootctl.Slot, version string) {
	t.Helper()
	dev, err := layout.Slot(slot)
	if err != nil {
		t.Fatal(err)
	}
	c, err := partitions.ReadSlot(dev)
	if err != nil {
		t.Errorf("slot %v: %v", slot, err)
		return
	}
	if c.Manifest.Version != version {
		t.Errorf("slot %v holds %s; want %s", slot, c.Manifest.Version, version)
	}
	tree, err := c.Tree(dev)
	if err != nil {
		t.Errorf("slot %v: %v", slot, err)
		return
	}
	if err := tree.VerifyData(context.Background(), dev, nil); err != nil {
		t.Errorf("slot %v: %v", slot, err)
	}
	got := make([]byte, c.Manifest.ImageBytes)
	if _, err := dev.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, recoverytest.Image(version)) {
		t.Errorf("slot %v: not the image of %s", slot, version)
	}
	if list, err := c.Layers(dev); err != nil || !bytes.Equal(list, recoverytest.Layers(version)) {
		t.Errorf("slot %v: list of layers %q, %v; want that of %s", slot, list, err, version)
	}
}

// exhausted is a device with two bad slots and a golden image.
func exhausted(t testing.TB) *recoverytest.Disk {
	t.Helper()
	d := recoverytest.NewDisk(t, 0, true)
	d.FillSlot(t, bootctl.SlotRecovery, "golden")
	s := bootctl.New().Stage(bootctl.SlotA, d.FillSlot(t, bootctl.SlotA, "1.0"))
	s = s.Stage(bootctl.SlotB, d.FillSlot(t, bootctl.SlotB, "2.0"))
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		var err error
		if s, err = s.MarkBad(slot, "test"); err != nil {
			t.Fatal(err)
		}
	}
	d.SetState(t, s)
	return d
}

func restore(t testing.TB, dev blockdev.Device) (bootctl.State, error) {
	t.Helper()
	layout := recoverytest.Open(t, dev)
	store := recoverytest.Store(t, layout)
	s, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	return recovery.Restore(store, layout, s, func(int64, int64) {})
}

func TestRestoreSurvivesEveryCut(t *testing.T) {
	d := exhausted(t)
	rec := blockdevtest.NewRecorder(d.Dev)
	if _, err := restore(t, rec); err != nil {
		t.Fatal(err)
	}
	rec.Mark("done")
	seen := map[bootctl.Status]int{}
	for img, cut := range rec.Crashes() {
		layout := recoverytest.Open(t, img)
		s, err := recoverytest.Store(t, layout).Load()
		if err != nil {
			t.Fatalf("cut %v: Load() = %v", cut, err)
		}
		status := s.Slot(bootctl.SlotA).Status
		seen[status]++
		choice, _ := s.Next()
		switch status {
		case bootctl.Bad: // nothing has happened yet
			checkSlot(t, layout, bootctl.SlotA, "1.0")
		case bootctl.Writing:
			if choice.Slot != bootctl.SlotRecovery || s.CheckBootable(bootctl.SlotA) == nil {
				t.Errorf("slot %v boots while a is written; want recovery", choice.Slot)
			}
		case bootctl.Good:
			checkSlot(t, layout, bootctl.SlotA, "golden")
			if choice.Slot != bootctl.SlotA {
				t.Errorf("slot %v boots; want a", choice.Slot)
			}
		default:
			t.Errorf("slot a is %s", status)
		}
		if cut.Reached("done") && status != bootctl.Good {
			t.Errorf("slot a is %s after it was said to be restored", status)
		}
		if _, err := restore(t, img); err != nil {
			t.Errorf("restoring again: %v", err)
		}
		checkSlot(t, layout, bootctl.SlotA, "golden")
		checkSlot(t, layout, bootctl.SlotB, "2.0")
		checkSlot(t, layout, bootctl.SlotRecovery, "golden")
		if t.Failed() {
			t.Fatalf("the above after cut %v", cut)
		}
	}
	for _, status := range []bootctl.Status{bootctl.Bad, bootctl.Writing, bootctl.Good} {
		if seen[status] == 0 {
			t.Errorf("no cut left slot a %s: seen %v", status, seen)
		}
	}
	t.Logf("cuts by what they left of slot a: %v", seen)
}

func TestRestoreBootsTheGoldenImage(t *testing.T) {
	d := exhausted(t)
	s, err := restore(t, d.Dev)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.State(t); !got.Equal(s) {
		t.Errorf("saved %+v; want %+v", got, s)
	}
	choice, _ := s.Next()
	a := s.Slot(bootctl.SlotA)
	if choice.Slot != bootctl.SlotA || a.Status != bootctl.Good || a.Version != "golden" || s.Fallback != "" {
		t.Errorf("after restoring: boots %v, a = %+v, fallback %q; want a, good, golden", choice.Slot, a, s.Fallback)
	}
}

// A golden image that is damaged is found out before it can boot, and where
// its tree is damaged before slot A is touched.
func TestRestoreRefusesDamage(t *testing.T) {
	for _, tt := range []struct {
		name   string
		off    int64 // of the byte that is flipped in the recovery slot
		status bootctl.Status
	}{
		{"first block", 100, bootctl.Empty},
		{"last block", recoverytest.Blocks*4096 - 1, bootctl.Empty},
		{"hash tree", (recoverytest.Blocks + 1) * 4096, bootctl.Bad},
		{"footer", -4096, bootctl.Bad},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := exhausted(t)
			flip(t, section(t, d.Layout, partitions.LabelRecovery), tt.off)
			_, err := restore(t, d.Dev)
			if fault.KindOf(err) != fault.Verify {
				t.Errorf("Restore() = %v; want a verification error", err)
			}
			s := d.State(t)
			if got := s.Slot(bootctl.SlotA).Status; got != tt.status {
				t.Errorf("slot a is %s; want %s", got, tt.status)
			}
			if choice, _ := s.Next(); choice.Slot != bootctl.SlotRecovery {
				t.Errorf("slot %v boots; want recovery", choice.Slot)
			}
		})
	}
}

func flip(t testing.TB, dev blockdev.Device, off int64) {
	t.Helper()
	if off < 0 {
		off += dev.Size()
	}
	var b [1]byte
	if _, err := dev.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := dev.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
}

func TestRestoreWithoutGoldenImage(t *testing.T) {
	for _, recovery := range []bool{false, true} {
		d := recoverytest.NewDisk(t, 0, recovery)
		rec := blockdevtest.NewRecorder(d.Dev)
		if _, err := restore(t, rec); err == nil {
			t.Errorf("recovery slot %v: Restore() = nil without a golden image", recovery)
		}
		if n := rec.Writes(); n != 0 {
			t.Errorf("recovery slot %v: %d writes; want none", recovery, n)
		}
	}
}

func TestRetry(t *testing.T) {
	d := exhausted(t)
	s, err := recovery.Retry(d.State(t), bootctl.SlotB)
	if err != nil {
		t.Fatal(err)
	}
	choice, _ := s.Next()
	if choice.Slot != bootctl.SlotB || choice.Try != 1 || s.Slot(bootctl.SlotB).TriesLeft != bootctl.DefaultTries {
		t.Errorf("after Retry(b): %+v with %d tries left; want the first of %d tries of b", choice, s.Slot(bootctl.SlotB).TriesLeft, bootctl.DefaultTries)
	}
	for _, slot := range []bootctl.Slot{bootctl.SlotNone, bootctl.SlotRecovery} {
		if _, err := recovery.Retry(s, slot); err == nil {
			t.Errorf("Retry(%v) = nil", slot)
		}
	}
	if _, err := recovery.Retry(s.BeginRestore(bootctl.SlotA), bootctl.SlotA); err == nil {
		t.Error("Retry(a) = nil while a is written")
	}
}
