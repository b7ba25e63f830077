package updater_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// An order is a command about the boot state of a disk.
type order struct {
	name string
	base blockdev.Device
	give func(sys *updater.System) error
	// done says whether a state shows the order.
	done func(s bootctl.State) bool
}

// ordersOf returns orders that mean the same when they are given twice.
func ordersOf(t *testing.T) []order {
	t.Helper()
	dir := crashImages(t)
	ref := update(t, dir, "v2")
	plain, staged, held := diskInMemory(t, dir), diskInMemory(t, dir), diskInMemory(t, dir)
	stage := func(sys *updater.System) error {
		_, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: ref})
		return err
	}
	if err := stage(on(t, staged)); err != nil {
		t.Fatal(err)
	}
	if _, err := on(t, held).Apply(t.Context(), updater.ApplyOptions{Ref: ref, StageOnly: true}); err != nil {
		t.Fatal(err)
	}
	next := func(slot bootctl.Slot) func(bootctl.State) bool {
		return func(s bootctl.State) bool { return s.Active() == slot }
	}
	return []order{
		{"apply", plain, stage, next(bootctl.SlotB)},
		{"switch", held, func(sys *updater.System) error {
			_, err := sys.Switch(t.Context(), updater.Allow{}, nil)
			return err
		}, next(bootctl.SlotB)},
		{"cancel", staged, func(sys *updater.System) error { _, err := sys.Cancel(); return err }, next(bootctl.SlotA)},
		{"mark-bad", staged, func(sys *updater.System) error {
			_, err := sys.MarkBad(bootctl.SlotB, "by order")
			return err
		}, next(bootctl.SlotA)},
		{"factory-reset", plain, func(sys *updater.System) error { _, err := sys.FactoryReset(); return err },
			func(s bootctl.State) bool { return s.Reset != bootctl.ResetNone }},
	}
}

// A program is killed at any operation, and the same order is given again; it
// is done, or was done before. Then the power goes, and takes nothing back.
func TestDoneAfterAKillIsOnTheMedium(t *testing.T) {
	for _, o := range ordersOf(t) {
		t.Run(o.name, func(t *testing.T) {
			for n := 1; ; n++ {
				medium := blockdevtest.NewImage(o.base)
				cache := blockdevtest.NewPageCache(medium)
				killed := blockdevtest.Inject(cache, blockdevtest.Faults{Any: n, Onwards: true})
				if sys, err := updater.New(killed, nil); err == nil {
					_ = o.give(sys) // it is killed
				}
				if !killed.Hit() {
					return
				}
				if err := o.give(on(t, cache)); err != nil && fault.KindOf(err) != fault.Nothing {
					t.Fatalf("killed at operation %d, given again: %v", n, err)
				}
				if s := ut.State(t, medium); !o.done(s) {
					t.Errorf("killed at operation %d, given again, then the power goes: slot %v boots next, reset %q; want the order done", n, s.Active(), s.Reset)
				}
			}
		})
	}
}

// A sector that cannot be read may hold the newer state: an order does not go
// by the older one, which knows nothing of what was staged.
func TestOrdersWithAnUnreadableRecord(t *testing.T) {
	for _, o := range ordersOf(t) {
		for i, off := range []int64{0, bootctl.PartitionSize / 2} {
			t.Run(fmt.Sprintf("%s, record %d", o.name, i), func(t *testing.T) {
				before := ut.State(t, o.base)
				img := blockdevtest.NewImage(o.base)
				err := o.give(on(t, &blockdevtest.BadSector{Device: img, At: ut.DiskOn(t, img).StatePartition().Off + off}))
				if !errors.Is(err, syscall.EIO) || fault.KindOf(err) != fault.Other {
					t.Errorf("%v, kind %d; want an error of kind %d, and why", err, fault.KindOf(err), fault.Other)
				}
				if s := ut.State(t, img); !s.Equal(before) {
					t.Errorf("the state is %+v; want it as it was", s)
				}
			})
		}
	}
}

// A slot that cannot be read is not one that holds something wrong.
func TestSwitchToAnUnreadableSlot(t *testing.T) {
	held := ordersOf(t)[1]
	sec := ut.Slot(t, ut.DiskOn(t, held.base), bootctl.SlotB)
	for name, off := range map[string]int64{"footer": sec.Size() - 4096, "data": 8192} {
		err := held.give(on(t, &blockdevtest.BadSector{Device: held.base, At: sec.Off() + off}))
		if !errors.Is(err, syscall.EIO) || fault.KindOf(err) != fault.Other {
			t.Errorf("%s: %v, kind %d; want EIO, kind %d", name, err, fault.KindOf(err), fault.Other)
		}
	}
}
