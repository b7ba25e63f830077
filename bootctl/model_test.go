package bootctl_test

import (
	"fmt"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
)

// The model: a device with two slots and everything that can happen to it,
// explored until no new state turns up. Saves are atomic here; that they are
// is what TestSaveSurvivesEveryCut shows.

// content is what lies in a slot, whatever the boot state says.
type content uint8

const (
	nothing content = iota // no footer
	partial                // data, but no footer
	working                // boots, when nothing else goes wrong
	broken                 // never gets as far as to be confirmed
)

func (c content) complete() bool { return c == working || c == broken }

var digests = [...]string{working: "sha256:working", broken: "sha256:broken"}

func digestOf(c content) string { return digests[c] }

func contentOf(digest string) content {
	for c, d := range digests {
		if d == digest {
			return content(c)
		}
	}
	return nothing
}

// world is a device at one moment. runs is SlotNone when it is off.
type world struct {
	state bootctl.State
	disk  [2]content
	runs  bootctl.Slot
}

func (w world) in(slot bootctl.Slot) content { return w.disk[slot-bootctl.SlotA] }

func (w world) put(slot bootctl.Slot, c content) world {
	w.disk[slot-bootctl.SlotA] = c
	return w
}

// with returns the world with another state, saved.
func (w world) with(s bootctl.State) world {
	w.state = s
	return w
}

func (w world) off() world {
	w.runs = bootctl.SlotNone
	return w
}

// key is a world without what no decision depends on: texts, events, and the
// list of denied digests.
type key struct {
	slot                          [2]slotKey
	disk                          [2]content
	runs                          bootctl.Slot
	oneShot                       bootctl.Slot
	reset                         uint8
	lastSlot                      bootctl.Slot
	confirmed, wasOneShot, failed bool
}

type slotKey struct {
	status          uint8
	tries, failures uint8
	order           uint8
	digest          content
	rebuilt         bool
	proven, kept    bool
}

var (
	statuses = []bootctl.Status{bootctl.Empty, bootctl.Writing, bootctl.Held, bootctl.Pending, bootctl.Good, bootctl.Bad}
	phases   = []bootctl.ResetPhase{bootctl.ResetNone, bootctl.ResetRequested, bootctl.ResetWiping, bootctl.ResetWiped}
)

func index[T comparable](list []T, v T) uint8 {
	for i, x := range list {
		if x == v {
			return uint8(i)
		}
	}
	panic(fmt.Sprintf("%v is not in %v", v, list))
}

func (w world) pack() key {
	s := w.state
	k := key{disk: w.disk, runs: w.runs, oneShot: s.OneShot, reset: index(phases, s.Reset),
		lastSlot: s.LastBoot.Slot, confirmed: s.LastBoot.Confirmed, wasOneShot: s.LastBoot.OneShot,
		failed: s.LastBoot.Failure != ""}
	for i, e := range s.Slots {
		if e.Order > 2 {
			panic(fmt.Sprintf("order is %d", e.Order))
		}
		k.slot[i] = slotKey{index(statuses, e.Status), e.TriesLeft, e.FailedBoots, uint8(e.Order),
			contentOf(e.Digest), e.Rebuilt, e.Proven, e.Kept}
	}
	return k
}

func text(is bool) string {
	if is {
		return "x"
	}
	return ""
}

func (k key) unpack() world {
	s := bootctl.State{OneShot: k.oneShot, Reset: phases[k.reset]}
	s.LastBoot = bootctl.Boot{Slot: k.lastSlot, Confirmed: k.confirmed, OneShot: k.wasOneShot, Failure: text(k.failed)}
	for i, e := range k.slot {
		s.Slots[i] = bootctl.SlotState{Status: statuses[e.status], TriesLeft: e.tries, FailedBoots: e.failures,
			Order: uint32(e.order), Digest: digestOf(e.digest), Rebuilt: e.rebuilt, Proven: e.proven, Kept: e.kept}
	}
	return world{state: s, disk: k.disk, runs: k.runs}
}

func info(c content) bootctl.SlotInfo { return bootctl.SlotInfo{Digest: digestOf(c)} }

// A visitor is told every way in which a world can go on.
type visitor func(name string, to world)

// steps visits everything that can happen next.
func (w world) steps(t *testing.T, visit visitor) {
	switch w.runs {
	case bootctl.SlotNone:
		w.stepsOff(t, visit)
	case bootctl.SlotRecovery:
		w.stepsRecovery(t, visit)
	default:
		w.stepsRunning(t, visit)
	}
}

func (w world) stepsOff(t *testing.T, visit visitor) {
	w.stepsBoot("boot", w.boot(t), visit)
	w.stepsBoot("boot, records lost", w.with(w.rebuild()).boot(t), visit)
	w.orders(t, visit)
	w.apply(t, visit)
}

// stepsBoot visits what can come of a boot whose try is saved: it runs, the
// power goes, or the initramfs finds a reason to give it up.
func (w world) stepsBoot(name string, up world, visit visitor) {
	visit(name, up)
	visit(name+", cut", up.off())
	if up.runs.IsRoot() {
		visit(name+", fail", up.with(up.state.FailBoot(up.runs, "x")).off())
	}
}

// boot lets Next choose, saves, and starts it.
func (w world) boot(t *testing.T) world {
	c, next := w.state.Next()
	checkNext(t, w, c, next)
	w.state, w.runs = next, c.Slot
	return w
}

// rebuild is what the initramfs does when it finds no valid record.
func (w world) rebuild() bootctl.State {
	var found []bootctl.Found
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		if c := w.in(slot); c.complete() {
			found = append(found, bootctl.Found{Slot: slot, SlotInfo: info(c)})
		}
	}
	return bootctl.Rebuild(found...)
}

func (w world) stepsRunning(t *testing.T, visit visitor) {
	visit("crash", w.off())
	if w.in(w.runs) == broken {
		return
	}
	if s, err := w.state.Confirm(w.runs); err == nil {
		visit("confirm", w.with(s))
		if err := s.CanApply(w.runs); err != nil && s.Reset == bootctl.ResetNone {
			t.Errorf("slot %v is confirmed and takes no update: %v: %+v", w.runs, err, s)
		}
		if s.Slot(w.runs).Status != bootctl.Good {
			t.Errorf("slot %v is confirmed and %s", w.runs, s.Slot(w.runs).Status)
		}
	}
	if _, err := w.state.Confirm(w.runs.Other()); err == nil {
		t.Errorf("slot %v runs and the other one may be confirmed: %+v", w.runs, w.state)
	}
	w.orders(t, visit)
	w.apply(t, visit)
}

// orders visits what an operator can say, on the running system or to a disk.
func (w world) orders(t *testing.T, visit visitor) {
	if s, to, err := w.state.Rollback(); err == nil {
		visit("rollback", w.with(s))
		if s.Reset == bootctl.ResetNone && s.Active() != to {
			t.Errorf("rollback to %v, but %v would boot: %+v", to, s.Active(), s)
		}
	}
	if s, err := w.state.MarkBad(bootctl.SlotA, "x"); err == nil {
		visit("mark a bad", w.with(s))
	}
	if s, err := w.state.MarkBad(bootctl.SlotB, "x"); err == nil {
		visit("mark b bad", w.with(s))
	}
	w.cancel(t, visit)
	visit("request a reset", w.with(w.state.RequestReset()))
	visit("order a", w.with(w.state.SetOneShot(bootctl.SlotA)))
	visit("order b", w.with(w.state.SetOneShot(bootctl.SlotB)))
	visit("order recovery", w.with(w.state.SetOneShot(bootctl.SlotRecovery)))
}

// apply goes as far as the power or the process lasts: each step of it is a
// world to go on from.
func (w world) apply(t *testing.T, visit visitor) {
	if w.state.CanApply(w.runs) != nil {
		return
	}
	slot := w.state.Inactive(w.runs)
	checkApply(t, w, slot)
	s, err := w.state.BeginWrite(slot)
	if err != nil {
		return
	}
	begun := w.with(s)
	visit("apply, cut before the footer is zeroed", begun)
	visit("apply, cut with no footer", begun.put(slot, nothing))
	visit("apply, cut in the data", begun.put(slot, partial))
	visit("apply, given up", begun.put(slot, partial).with(s.AbortWrite(slot, "x")))
	for c := working; c <= broken; c++ {
		written := begun.put(slot, c)
		visit("apply, cut before it is staged", written)
		visit("apply", written.with(s.Stage(slot, info(c))))
		visit("apply, held", written.with(s.Hold(slot, info(c))))
	}
	if s := w.state; s.Slot(slot).Status == bootctl.Held {
		visit("switch", w.with(s.Stage(slot, s.Slot(slot).Info())))
	}
}

// cancel takes back what waits: first the state, then the footer.
func (w world) cancel(t *testing.T, visit visitor) {
	s, slot, err := w.state.Cancel(w.runs)
	if err != nil {
		return
	}
	checkCancel(t, w, s, slot)
	visit("cancel, cut before the footer is zeroed", w.with(s))
	visit("cancel", w.with(s).put(slot, partial))
}

func (w world) stepsRecovery(t *testing.T, visit visitor) {
	s := w.state
	visit("crash", w.off())
	visit("retry a", w.with(s.SetOneShot(bootctl.SlotA)))
	visit("retry b", w.with(s.SetOneShot(bootctl.SlotB)))
	if s.Reset != bootctl.ResetNone {
		next := phases[(int(index(phases, s.Reset))+1)%len(phases)]
		visit("reset goes on", w.with(s.AdvanceReset(next)))
		return
	}
	s = s.BeginRestore(bootctl.SlotA)
	begun := w.with(s)
	visit("restore, cut before the footer is zeroed", begun)
	visit("restore, cut in the data", begun.put(bootctl.SlotA, partial))
	visit("restore, cut before it is installed", begun.put(bootctl.SlotA, working))
	visit("restore", begun.put(bootctl.SlotA, working).with(s.Install(bootctl.SlotA, info(working))))
	w.apply(t, visit)
}
