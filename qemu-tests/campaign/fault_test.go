package campaign_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
	"github.com/abupdate/abupdate/recovery/recoverytest"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// twice are orders that mean the same when they are given twice.
var twice = map[string]bool{"mark-good": true, "mark-bad": true, "factory-reset": true, "apply --cancel": true, "apply --switch": true}

// A faulting is a scenario whose disk fails.
type faulting struct {
	scenario
	t    *testing.T
	r    refs
	base blockdev.Device
	// old and now are what boots without a fault, before and after; state is
	// the boot state after it, and known are the systems on the disk.
	old, now machine.Outcome
	state    bootctl.State
	known    map[string]bool
	ends     map[string]int
	tried    int
}

// TestFaults has each operation of everything that writes to the disk fail, in
// every way. The command says so; what boots is the system from before or from
// after, whole; and the same command goes through once the disk works.
func TestFaults(t *testing.T) {
	r := builtRefs(t)
	base := device(t, r)
	total := make(map[string]int)
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			f := newFaulting(t, s, r, base)
			for i, tr := range troubles {
				f.every(tr, i)
			}
			t.Logf("%d faults: %s", f.tried, summary(f.ends))
			for what, n := range f.ends {
				total[what] += n
			}
		})
	}
	t.Logf("in all: %s", summary(total))
}

func newFaulting(t *testing.T, s scenario, r refs, base blockdev.Device) *faulting {
	t.Helper()
	f := &faulting{scenario: s, t: t, r: r, base: blockdevtest.NewImage(base), known: make(map[string]bool), ends: make(map[string]int)}
	if s.larger > 0 {
		f.base = recoverytest.Grown(base, s.larger)
	}
	s.before(t, r, f.base)
	f.old = machine.Start(blockdevtest.NewImage(f.base))
	after := blockdevtest.NewImage(f.base)
	if err := s.do(t, r, after); err != nil {
		t.Fatal(err)
	}
	f.state = ut.State(t, after)
	for _, dev := range []blockdev.Device{f.base, after} {
		for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
			f.known[rootHash(t, dev, slot)] = true
		}
	}
	f.now = machine.Start(after)
	return f
}

// every lets a trouble come at each operation; without -full at the first, and
// at one in four of the others, which ones depends on the trouble.
func (f *faulting) every(tr trouble, i int) {
	f.t.Helper()
	for n := 1; ; n++ {
		if !*full && n > 1 && (n+i)%4 != 0 {
			continue
		}
		rig := tr.rig(f.base, n)
		err := f.do(f.t, f.r, rig.dev)
		if !rig.faulty.Hit() {
			if err != nil {
				f.t.Fatalf("without a fault: %v", err)
			}
			return
		}
		f.tried++
		if verr := f.after(tr, rig, err); verr != nil {
			f.t.Errorf("%s, number %d, which gave %v: %v", tr.name, n, err, verr)
		}
	}
}

// after checks what a fault has left.
func (f *faulting) after(tr trouble, rig rig, err error) error {
	if err := f.checkError(tr, err); err != nil {
		return err
	}
	if tr.stays {
		if err := f.checkBroken(tr, rig); err != nil {
			return err
		}
	}
	cut := blockdevtest.NewImage(rig.medium)
	if state := ut.State(f.t, cut); err == nil && !f.boots() && !sameOrder(state, f.state) {
		return fmt.Errorf("it is done, and the boot state is %+v; want %+v", state, f.state)
	}
	o := machine.Start(cut)
	if err := f.check(o, f.old, f.now, err == nil); err != nil {
		return err
	}
	f.count(o, err)
	if o.End == machine.Up && f.tried%goOnEvery == 0 {
		f.ends["taken to the next update"]++
		if err := goOn(f.t, f.r, cut, o); err != nil {
			return fmt.Errorf("then %v: %w", o, err)
		}
	}
	return f.again(rig)
}

func (f *faulting) count(o machine.Outcome, err error) {
	what := "refused"
	if err == nil {
		what = "done in spite of it"
	}
	f.ends[what]++
	switch {
	case o.End == machine.InRecovery:
		f.ends["then recovery"]++
	case o.RootHash == f.now.RootHash:
		f.ends["then the system from after"]++
	default:
		f.ends["then the system from before"]++
	}
}

// boots says that the scenario is not a command but a boot, which tells of
// errors on its console.
func (f *faulting) boots() bool { return strings.Contains(f.name, "boot") || f.waits }

func (f *faulting) checkError(tr trouble, err error) error {
	switch {
	case err == nil || f.boots():
		return nil
	case !errors.Is(err, tr.err) || fault.KindOf(err) != tr.kind:
		return fmt.Errorf("its kind is %d; want an error of kind %d that says %q", fault.KindOf(err), tr.kind, tr.err)
	}
	return nil
}

// checkBroken starts a disk that goes on failing.
func (f *faulting) checkBroken(tr trouble, rig rig) error {
	o := machine.Start(blockdevtest.Inject(blockdevtest.NewImage(rig.medium), tr.faults(1)))
	switch {
	case tr.dead && o.End == machine.Stranded: // it starts again and again, and says why
		if !strings.Contains(strings.Join(o.Log, "\n"), tr.err.Error()) {
			return fmt.Errorf("of the dead disk it says %q; want %q", o.Log, tr.err)
		}
		f.ends["disk dead: reboots, and says why"]++
	case o.End == machine.InRecovery:
		f.ends["disk still broken: recovery"]++
	case o.End == machine.Up && f.known[o.RootHash]:
		f.ends["disk still broken: a system is up"]++
	default:
		return fmt.Errorf("with the disk still broken: %v", o)
	}
	return nil
}

// sameOrder compares what a command changes.
func sameOrder(a, b bootctl.State) bool {
	same := a.Active() == b.Active() && a.Reset == b.Reset
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		same = same && a.Slot(slot).Status == b.Slot(slot).Status
	}
	return same
}

// again gives the same command once more, in the same boot, on a disk that
// works again; then the power goes.
func (f *faulting) again(rig rig) error {
	if !f.goesOn && !twice[f.name] {
		return nil
	}
	if err := f.do(f.t, f.r, rig.next); err != nil && fault.KindOf(err) != fault.Nothing {
		return fmt.Errorf("given again: %w", err)
	}
	cut := blockdevtest.NewImage(rig.medium)
	if state := ut.State(f.t, cut); !sameOrder(state, f.state) {
		return fmt.Errorf("given again it is done, and the boot state is %+v; want %+v", state, f.state)
	}
	if err := f.check(machine.Start(cut), f.old, f.now, true); err != nil {
		return fmt.Errorf("given again: %w", err)
	}
	f.ends["given again, done"]++
	return nil
}
