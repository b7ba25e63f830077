package campaign_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
	"github.com/abupdate/abupdate/recovery/recoverytest"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

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

// halfWritten is a disk on which the power went in the middle of an apply.
func halfWritten(t *testing.T, r refs, dev blockdev.Device) {
	t.Helper()
	rec := blockdevtest.NewRecorder(blockdevtest.NewImage(dev))
	order(t, rec, apply(t, updater.ApplyOptions{Ref: r.update["v2"]}))
	cut := &supply{Device: dev, rnd: rand.New(rand.NewPCG(1, 1)), left: (rec.Writes() + rec.Syncs()) / 2}
	if err := try(cut, nil, apply(t, updater.ApplyOptions{Ref: r.update["v2"]})); !errors.Is(err, errPower) {
		t.Fatalf("apply with a cut = %v; want %v", err, errPower)
	}
}

// blankVar is a disk whose /var was never made.
func blankVar(t *testing.T, _ refs, dev blockdev.Device) {
	t.Helper()
	sec, err := recoverytest.Open(t, dev).Section(partitions.LabelVar)
	if err == nil {
		err = blockdev.Zero(sec, 0, partitions.BlankSize)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// unbootable is a system in B, to be tried, that does not come up.
func unbootable(t *testing.T, r refs, dev blockdev.Device) {
	t.Helper()
	order(t, dev, apply(t, updater.ApplyOptions{Ref: r.update["noinit"]}))
}

// reset is a disk whose next boot resets it.
func reset(t *testing.T, r refs, dev blockdev.Device) {
	t.Helper()
	updated(t, r, dev)
	order(t, dev, func(s *updater.System) error { _, err := s.FactoryReset(); return err })
}

// bootUp boots until something stays.
func bootUp(_ *testing.T, _ refs, dev blockdev.Device) error {
	if o := machine.Start(dev); o.End != machine.Up {
		return fmt.Errorf("no system came up: %v", o)
	}
	return nil
}

// retry is a person's order in recovery. The system comes up also where the
// order could not be saved, which is not what the person wanted.
func retry(t *testing.T, r refs, dev blockdev.Device) error {
	if err := boot("3\r")(t, r, dev); err != nil {
		return err
	}
	return try(dev, nil, func(s *updater.System) error {
		st, err := s.Status()
		if err == nil && st.Slots["a"].State == bootctl.Bad {
			err = errors.New("slot a is bad as before")
		}
		return err
	})
}

func update(name string) func(refs) string { return func(r refs) string { return r.update[name] } }
func image(name string) func(refs) string  { return func(r refs) string { return r.image[name] } }

func cancel(s *updater.System) error { _, err := s.Cancel(); return err }

// scenarios begin with those that take longest.
var scenarios = []scenario{
	{name: "apply an update over an older system", before: updated, do: applyRef(update("v3"), false), goesOn: true},
	{name: "apply an image over an older system", before: updated, do: applyRef(image("v3"), false), goesOn: true},
	{name: "apply over a half-written slot", before: halfWritten, do: applyRef(update("v3"), false), goesOn: true},
	{name: "apply an image", before: nothing, do: applyRef(image("v2"), false), goesOn: true},
	{name: "apply an update", before: nothing, do: applyRef(update("v2"), false), goesOn: true},
	{name: "apply --stage-only", before: nothing, do: applyRef(update("v2"), true), goesOn: true},
	{name: "apply --switch", before: held, do: func(t *testing.T, _ refs, dev blockdev.Device) error {
		return try(dev, nil, func(s *updater.System) error {
			_, err := s.Switch(t.Context(), updater.Allow{}, nil)
			return err
		})
	}},
	{name: "apply --cancel", before: staged, do: command(nil, cancel)},
	{name: "apply --cancel of a held system", before: held, do: command(nil, cancel)},
	{name: "first boot of an update", before: staged, do: boot("")},
	{name: "boot of a confirmed system", before: updated, do: boot("")},
	{name: "boots of a broken update, and the way back", before: unbootable, do: bootUp},
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
	{name: "boot that resets", before: reset, do: boot("")},
	{name: "first boot, which makes /var", before: blankVar, do: boot("")},
	{name: "first boot on a larger disk", before: nothing, do: boot(""), larger: 256 << 20},
	{name: "retry of a slot in recovery", before: exhausted, do: retry, waits: true},
	{name: "restore of the golden image", before: exhausted, do: boot("2\r"), waits: true},
}
