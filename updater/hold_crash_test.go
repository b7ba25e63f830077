package updater_test

import (
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// on opens a disk that does not run.
func on(t *testing.T, dev blockdev.Device) *updater.System {
	t.Helper()
	sys, err := updater.New(dev, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sys
}

// The power may go at any write of an update that is held, switched to, or
// taken back: what boots is whole, it is the old system until it is switched
// to, and the same order given again is carried out.
func TestTwoStepsKilledAnywhere(t *testing.T) {
	dir := crashImages(t)
	ref := update(t, dir, "v2")
	held, staged := diskInMemory(t, dir), diskInMemory(t, dir)
	hold := func(dev blockdev.Device) error {
		_, err := on(t, dev).Apply(t.Context(), updater.ApplyOptions{Ref: ref, StageOnly: true})
		return err
	}
	switchTo := func(dev blockdev.Device) error {
		_, err := on(t, dev).Switch(t.Context(), updater.Allow{}, nil)
		return err
	}
	cancel := func(dev blockdev.Device) error {
		_, err := on(t, dev).Cancel()
		return err
	}
	if err := hold(held); err != nil {
		t.Fatal(err)
	}
	if _, err := apply(t, staged, ref); err != nil {
		t.Fatal(err)
	}
	const a, b = bootctl.SlotA, bootctl.SlotB
	for _, tt := range []struct {
		name          string
		base          *blockdev.Memory
		run           func(dev blockdev.Device) error
		before, after bootctl.Slot // that boots
	}{
		{"hold", diskInMemory(t, dir), hold, a, a},
		{"switch", held, switchTo, a, b},
		{"take back what is staged", staged, cancel, b, a},
		{"take back what is held", held, cancel, a, a},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old := ut.State(t, tt.base)
			rec := blockdevtest.NewRecorder(blockdevtest.NewImage(tt.base))
			if err := tt.run(rec); err != nil {
				t.Fatal(err)
			}
			rec.Mark("done")
			cuts, finished := 0, 0
			for img, cut := range rec.Crashes() {
				cuts++
				next, err := checkOldOrNew(t, img, old)
				if err != nil {
					t.Fatalf("cut %v: %v", cut, err)
				}
				if next != tt.before && next != tt.after || cut.Reached("done") && next != tt.after {
					t.Fatalf("cut %v: slot %v boots next; want %v, and %v when it had returned", cut, next, tt.before, tt.after)
				}
				if cut.Torn >= 0 && cuts%8 != 0 {
					continue
				}
				finished++
				if err := tt.run(img); err != nil && fault.KindOf(err) != fault.Nothing {
					t.Fatalf("cut %v: again: %v", cut, err)
				}
				if next, err := checkOldOrNew(t, img, old); err != nil || next != tt.after {
					t.Fatalf("cut %v: afterwards slot %v boots next, %v; want %v", cut, next, err, tt.after)
				}
				if _, err := apply(t, img, ref); err != nil && fault.KindOf(err) != fault.Nothing {
					t.Fatalf("cut %v: apply in the end: %v", cut, err)
				}
				if next, err := checkOldOrNew(t, img, old); err != nil || next != b {
					t.Fatalf("cut %v: in the end slot %v boots next, %v; want b", cut, next, err)
				}
			}
			if cuts < 10 {
				t.Errorf("%d cuts: too few to prove anything", cuts)
			}
			t.Logf("%d writes, %d cuts, %d taken to their end", rec.Writes(), cuts, finished)
		})
	}
}
