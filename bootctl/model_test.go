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

// key is a world without what no decision depends on: texts and events.
type key struct {
	slot    [2]slotKey
	disk    [2]content
	runs    bootctl.Slot
	oneShot bootctl.Slot
	reset   uint8
	denied  uint8 // bit set of content

	lastSlot                              bootctl.Slot
	confirmed, wasOneShot, failed, fallen bool
}

type slotKey struct {
	status            uint8
	tries, failures   uint8
	order             uint8
	digest            content
	rebuilt, hasCause bool
}

var (
	statuses = []bootctl.Status{bootctl.Empty, bootctl.Writing, bootctl.Pending, bootctl.Good, bootctl.Bad}
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
		failed: s.LastBoot.Failure != "", fallen: s.Fallback != ""}
	for i, e := range s.Slots {
		if e.Order > 2 {
			panic(fmt.Sprintf("order is %d", e.Order))
		}
		k.slot[i] = slotKey{index(statuses, e.Status), e.TriesLeft, e.FailedBoots, uint8(e.Order),
			contentOf(e.Digest), e.Rebuilt, e.LastFailure != ""}
	}
	for _, d := range s.Denied {
		k.denied |= 1 << contentOf(d)
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
	s := bootctl.State{OneShot: k.oneShot, Reset: phases[k.reset], Fallback: text(k.fallen)}
	s.LastBoot = bootctl.Boot{Slot: k.lastSlot, Confirmed: k.confirmed, OneShot: k.wasOneShot, Failure: text(k.failed)}
	for i, e := range k.slot {
		s.Slots[i] = bootctl.SlotState{Status: statuses[e.status], TriesLeft: e.tries, FailedBoots: e.failures,
			Order: uint32(e.order), Digest: digestOf(e.digest), Rebuilt: e.rebuilt, LastFailure: text(e.hasCause)}
	}
	for c := working; c <= broken; c++ {
		if k.denied>>c&1 == 1 {
			s.Denied = append(s.Denied, digestOf(c))
		}
	}
	return world{state: s, disk: k.disk, runs: k.runs}
}

func info(c content) bootctl.SlotInfo { return bootctl.SlotInfo{Digest: digestOf(c)} }

// A step is one way in which a world can go on.
type step struct {
	name string
	to   world
}

// steps returns everything that can happen next.
func (w world) steps(t *testing.T) []step {
	switch w.runs {
	case bootctl.SlotNone:
		return w.stepsOff(t)
	case bootctl.SlotRecovery:
		return w.stepsRecovery(t)
	}
	return w.stepsRunning(t)
}

func (w world) stepsOff(t *testing.T) []step {
	all := []step{
		{"boot", w.boot(t)},
		{"boot records lost", w.with(w.rebuild()).boot(t)},
		{"order a, boot", w.with(w.state.SetOneShot(bootctl.SlotA)).boot(t)},
		{"order b, boot", w.with(w.state.SetOneShot(bootctl.SlotB)).boot(t)},
		{"order recovery, boot", w.with(w.state.SetOneShot(bootctl.SlotRecovery)).boot(t)},
	}
	// The try is saved and the power goes; or the initramfs finds a reason to
	// give up on it.
	for _, s := range all {
		all = append(all, step{s.name + ", cut", s.to.off()})
		if s.to.runs.IsRoot() {
			all = append(all, step{s.name + ", fail", s.to.with(s.to.state.FailBoot(s.to.runs, "x")).off()})
		}
	}
	return all
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

func (w world) stepsRunning(t *testing.T) []step {
	all := []step{{"crash", w.off()}}
	if w.in(w.runs) == broken {
		return all
	}
	add := func(name string, s bootctl.State, err error) {
		if err == nil {
			all = append(all, step{name, w.with(s)})
		}
	}
	other := w.runs.Other()
	s, err := w.state.Confirm(w.runs)
	add("confirm", s, err)
	if _, err := w.state.Confirm(other); err == nil {
		t.Errorf("slot %v runs and %v may be confirmed: %+v", w.runs, other, w.state)
	}
	s, to, err := w.state.Rollback()
	add("rollback", s, err)
	if err == nil && s.Active() != to && s.Reset == bootctl.ResetNone {
		t.Errorf("rollback to %v, but %v would boot: %+v", to, s.Active(), s)
	}
	s, err = w.state.MarkBad(w.runs, "x")
	add("mark the booted slot bad", s, err)
	s, err = w.state.MarkBad(other, "x")
	add("mark the other slot bad", s, err)
	add("request a reset", w.state.RequestReset(), nil)
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB, bootctl.SlotRecovery} {
		add("order "+slot.String(), w.state.SetOneShot(slot), nil)
	}
	return append(all, w.apply(t)...)
}

// apply goes as far as the power or the process lasts: each step of it is a
// world to go on from.
func (w world) apply(t *testing.T) []step {
	if w.state.CanApply(w.runs) != nil {
		return nil
	}
	slot := w.state.Inactive(w.runs)
	checkApply(t, w, slot)
	s, err := w.state.BeginWrite(slot)
	if err != nil {
		return nil
	}
	begun := w.with(s)
	all := []step{
		{"apply, cut before the footer is zeroed", begun},
		{"apply, cut with no footer", begun.put(slot, nothing)},
		{"apply, cut in the data", begun.put(slot, partial)},
		{"apply, given up", begun.put(slot, partial).with(s.AbortWrite(slot, "x"))},
	}
	for _, c := range []content{working, broken} {
		written := begun.put(slot, c)
		all = append(all,
			step{"apply, cut before it is staged", written},
			step{"apply", written.with(s.Stage(slot, info(c)))})
	}
	return all
}

func (w world) stepsRecovery(t *testing.T) []step {
	s := w.state
	all := []step{
		{"crash", w.off()},
		{"retry a", w.with(s.SetOneShot(bootctl.SlotA))},
		{"retry b", w.with(s.SetOneShot(bootctl.SlotB))},
	}
	if s.Reset != bootctl.ResetNone {
		next := phases[(int(index(phases, s.Reset))+1)%len(phases)]
		return append(all, step{"reset goes on", w.with(s.AdvanceReset(next))})
	}
	s = s.BeginRestore(bootctl.SlotA)
	begun := w.with(s)
	all = append(all,
		step{"restore, cut before the footer is zeroed", begun},
		step{"restore, cut in the data", begun.put(bootctl.SlotA, partial)},
		step{"restore, cut before it is installed", begun.put(bootctl.SlotA, working)},
		step{"restore", begun.put(bootctl.SlotA, working).with(s.Install(bootctl.SlotA, info(working)))})
	return append(all, w.apply(t)...)
}
