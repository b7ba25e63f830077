package campaign_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
	"github.com/abupdate/abupdate/recovery/recoverytest"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

var full = flag.Bool("full", false, "try everything, not a sample")

func exit(code int) { os.Exit(code) }

// A scenario is an operation that the power may cut.
type scenario struct {
	name string
	// before brings a disk with v1 to where the operation begins.
	before func(t *testing.T, r refs, dev blockdev.Device)
	do     func(t *testing.T, r refs, dev blockdev.Device) error
	// larger is the size of the disk that the image lies on, 0 for its own.
	larger int64
	// waits says that recovery may wait as long as the operation is not done.
	waits bool
	// goesOn says that the operation can be given again after a cut.
	goesOn bool
}

func nothing(*testing.T, refs, blockdev.Device) {}

// staged is v2 in B, to be tried.
func staged(t *testing.T, r refs, dev blockdev.Device) {
	t.Helper()
	order(t, dev, apply(t, updater.ApplyOptions{Ref: r.update["v2"]}))
}

// updated is v2 in B, confirmed.
func updated(t *testing.T, r refs, dev blockdev.Device) {
	t.Helper()
	staged(t, r, dev)
	if o := machine.Start(dev); o.Slot != bootctl.SlotB {
		t.Fatalf("v2 does not come up: %v", o)
	}
	confirm(t, dev, bootctl.SlotB)
}

func held(t *testing.T, r refs, dev blockdev.Device) {
	t.Helper()
	order(t, dev, apply(t, updater.ApplyOptions{Ref: r.update["v2"], StageOnly: true}))
}

// exhausted is a disk on which nothing but the golden image is left.
func exhausted(t *testing.T, _ refs, dev blockdev.Device) {
	t.Helper()
	s := ut.State(t, dev)
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		s.Slot(slot).Status = bootctl.Bad
	}
	if err := ut.Store(t, dev).Save(s); err != nil {
		t.Fatal(err)
	}
}

func apply(t *testing.T, opt updater.ApplyOptions) func(*updater.System) error {
	return func(s *updater.System) error {
		_, err := s.Apply(t.Context(), opt)
		return err
	}
}

func applyRef(ref func(r refs) string, stageOnly bool) func(*testing.T, refs, blockdev.Device) error {
	return func(t *testing.T, r refs, dev blockdev.Device) error {
		return try(dev, nil, apply(t, updater.ApplyOptions{Ref: ref(r), StageOnly: stageOnly}))
	}
}

func command(booted *bootctl.Booted, do func(s *updater.System) error) func(*testing.T, refs, blockdev.Device) error {
	return func(_ *testing.T, _ refs, dev blockdev.Device) error { return try(dev, booted, do) }
}

func boot(keys string) func(*testing.T, refs, blockdev.Device) error {
	return func(_ *testing.T, _ refs, dev blockdev.Device) error {
		if m := machine.BootOnce(dev, keys); !m.Switched {
			return fmt.Errorf("no system came up: %q", m.Messages)
		}
		return nil
	}
}

var scenarios = []scenario{
	{name: "apply an update", before: nothing, do: applyRef(func(r refs) string { return r.update["v2"] }, false), goesOn: true},
	{name: "apply an image", before: nothing, do: applyRef(func(r refs) string { return r.image["v2"] }, false), goesOn: true},
	{name: "apply over an older system", before: updated, do: applyRef(func(r refs) string { return r.update["v3"] }, false), goesOn: true},
	{name: "apply --stage-only", before: nothing, do: applyRef(func(r refs) string { return r.update["v2"] }, true), goesOn: true},
	{name: "apply --switch", before: held, do: func(t *testing.T, _ refs, dev blockdev.Device) error {
		return try(dev, nil, func(s *updater.System) error {
			_, err := s.Switch(t.Context(), updater.Allow{}, nil)
			return err
		})
	}},
	{name: "apply --cancel", before: staged, do: command(nil, func(s *updater.System) error { _, err := s.Cancel(); return err })},
	{name: "first boot of an update", before: staged, do: boot("")},
	{name: "mark-good", before: func(t *testing.T, r refs, dev blockdev.Device) {
		staged(t, r, dev)
		machine.BootOnce(dev, "")
	}, do: command(&bootctl.Booted{Slot: bootctl.SlotB, Kernel: recoverytest.Kernel}, markGood)},
	{name: "mark-bad", before: updated, do: command(nil, func(s *updater.System) error {
		_, err := s.MarkBad(bootctl.SlotB, "by order")
		return err
	})},
	{name: "rollback", before: updated, do: command(nil, func(s *updater.System) error { _, err := s.Rollback(); return err })},
	{name: "factory-reset", before: updated, do: command(nil, func(s *updater.System) error { _, err := s.FactoryReset(); return err })},
	{name: "boot that resets", before: func(t *testing.T, r refs, dev blockdev.Device) {
		updated(t, r, dev)
		order(t, dev, func(s *updater.System) error { _, err := s.FactoryReset(); return err })
	}, do: boot("")},
	{name: "first boot on a larger disk", before: nothing, do: boot(""), larger: 256 << 20},
	{name: "restore of the golden image", before: exhausted, do: boot("2\r"), waits: true},
}

// sample is about how many states of a scenario are tried without -full.
const sample = 250

// goOnEvery is after how many states one is taken further: to the next update.
const goOnEvery = 23

// again is after how many states of a sample what follows is cut too: the next
// boot, and the same command.
const again = 20

// The power may go at any write of anything: what boots then is the system from
// before or the one from after, whole, and updates go on from there.
func TestPowerCuts(t *testing.T) {
	r := builtRefs(t)
	base := device(t, r)
	var total tally
	t.Run("scenarios", func(t *testing.T) {
		for _, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.run(t, r, base, &total)
			})
		}
	})
	t.Log(total.String())
}

func (s scenario) run(t *testing.T, r refs, base blockdev.Device, total *tally) {
	var dev blockdev.Device = blockdevtest.NewImage(base)
	if s.larger > 0 {
		dev = recoverytest.Grown(base, s.larger)
	}
	s.before(t, r, dev)
	old := machine.Start(blockdevtest.NewImage(dev))
	rec := blockdevtest.NewRecorder(dev)
	if err := s.do(t, r, rec); err != nil {
		t.Fatal(err)
	}
	rec.Mark("done")
	now := machine.Start(blockdevtest.NewImage(rec))
	if now.End != machine.Up || old.End != machine.Up && !s.waits {
		t.Fatalf("before: %v; after: %v; want systems that are up", old, now)
	}
	states := 0
	for range rec.Crashes() {
		states++
	}
	stride, every := 1, again
	if *full {
		every = 4
	} else if states > sample {
		stride = states / sample
	}
	var mine tally
	n := 0
	for img, cut := range rec.Crashes() {
		if n++; n%stride != 0 {
			continue
		}
		done := cut.Reached("done")
		if *full || n%(every*stride) == 0 {
			err := s.cutAgain(img, old, now, done, &mine, func(dev blockdev.Device) error { machine.BootOnce(dev, ""); return nil })
			if err != nil {
				t.Fatalf("cut %v, and the boot after it %v", cut, err)
			}
		}
		if s.goesOn && n%every == 1 {
			err := s.cutAgain(img, old, now, done, &mine, func(dev blockdev.Device) error { return s.do(t, r, dev) })
			if err != nil {
				t.Fatalf("cut %v, and the same command again %v", cut, err)
			}
		}
		o := machine.Start(img)
		if err := s.check(o, old, now, done); err != nil {
			t.Fatalf("cut %v: %v", cut, err)
		}
		mine.add(o, old, now)
		if o.End == machine.Up && mine.states%goOnEvery == 0 {
			if err := goOn(t, r, img, o); err != nil {
				t.Fatalf("cut %v, then %v: %v", cut, o, err)
			}
			mine.further++
		}
	}
	if mine.states == 0 {
		t.Error("no state was tried")
	}
	t.Logf("%d writes, %d syncs, %v", rec.Writes(), rec.Syncs(), &mine)
	total.merge(&mine)
}

// cutAgain cuts what follows a cut.
func (s scenario) cutAgain(dev blockdev.Device, old, now machine.Outcome, done bool, mine *tally, do func(dev blockdev.Device) error) error {
	rec := blockdevtest.NewRecorder(blockdevtest.NewImage(dev))
	if err := do(rec); err != nil && fault.KindOf(err) != fault.Nothing {
		return fmt.Errorf("not cut: %w", err)
	}
	for img, cut := range rec.Crashes() {
		o := machine.Start(img)
		if err := s.check(o, old, now, done); err != nil {
			return fmt.Errorf("cut %v: %w", cut, err)
		}
		mine.add(o, old, now)
		mine.twice++
	}
	return nil
}

// check says what is wrong with an outcome.
func (s scenario) check(o, old, now machine.Outcome, done bool) error {
	isOld, isNew := o.End == old.End && o.RootHash == old.RootHash, o.End == now.End && o.RootHash == now.RootHash
	switch {
	case !isOld && !isNew:
		return fmt.Errorf("%v; want the system from before (%s) or from after (%s)", o, old.Version, now.Version)
	case done && !isNew:
		return fmt.Errorf("%v; it was done, and gave version %s", o, now.Version)
	}
	return nil
}

// goOn takes a system that is up to the next update.
func goOn(t *testing.T, r refs, dev blockdev.Device, o machine.Outcome) error {
	if err := try(dev, &bootctl.Booted{Slot: o.Slot, Kernel: recoverytest.Kernel}, markGood); err != nil {
		return fmt.Errorf("confirming: %w", err)
	}
	opt := updater.ApplyOptions{Ref: r.update["v3"], Allow: updater.Allow{Downgrade: true, Denied: true}}
	err := try(dev, &bootctl.Booted{Slot: o.Slot, Kernel: recoverytest.Kernel}, apply(t, opt))
	if err != nil && fault.KindOf(err) != fault.Nothing {
		return fmt.Errorf("the next apply: %w", err)
	}
	if next := machine.Start(dev); next.End != machine.Up || next.Version != "3.0" {
		return fmt.Errorf("after the next apply: %v", next)
	}
	return nil
}
