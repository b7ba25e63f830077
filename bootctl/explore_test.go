package bootctl_test

import (
	"slices"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
)

func healthy(e bootctl.SlotState) bool {
	return e.Status == bootctl.Good && e.FailedBoots < bootctl.MaxFailedBoots
}

// checkNext holds what Next decided against the promises.
func checkNext(t *testing.T, w world, c bootctl.Choice, next bootctl.State) {
	before := w.state
	if c.Slot != bootctl.SlotRecovery && (!c.Slot.IsRoot() || !w.in(c.Slot).complete()) {
		t.Errorf("Next() chooses %v, whose write was not finished: %+v", c.Slot, w)
	}
	if c.Slot.IsRoot() && before.OneShot == bootctl.SlotNone && before.Slot(c.Slot).Status == bootctl.Held {
		t.Errorf("Next() chooses %v, which is held: %+v", c.Slot, w)
	}
	ordered := before.OneShot != bootctl.SlotNone || before.Reset != bootctl.ResetNone
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		was, is, other := *before.Slot(slot), *next.Slot(slot), *before.Slot(slot.Other())
		if is.Kept && !was.Kept && (!was.Proven || healthy(*next.Slot(slot.Other())) || !hasEvent(next, slot, "kept")) {
			t.Errorf("slot %v is kept for no reason, or silently: %+v", slot, next)
		}
		gaveUp := was.Status == bootctl.Pending && is.Status == bootctl.Bad || healthy(was) && !healthy(is)
		if !gaveUp {
			continue
		}
		if next.Fallback == "" || !hasEvent(next, slot, "gave up") {
			t.Errorf("slot %v was given up silently: %+v", slot, next)
		}
		if is.Status == bootctl.Bad && !was.Rebuilt && !next.IsDenied(was.Digest) {
			t.Errorf("slot %v fell back and its digest is not denied: %+v", slot, next)
		}
		if healthy(other) && !healthy(*next.Slot(slot.Other())) {
			t.Errorf("slot %v failed and took the good slot with it: %+v", slot, next)
		}
		if healthy(other) && !ordered && c.Slot != slot.Other() {
			t.Errorf("slot %v failed, the other one is good, and Next() chooses %v: %+v", slot, c.Slot, w)
		}
	}
	if c.Try > 0 && next.Slot(c.Slot).TriesLeft+1 != before.Slot(c.Slot).TriesLeft {
		t.Errorf("Next() tries slot %v and does not take the try off: %+v", c.Slot, next)
	}
}

func hasEvent(s bootctl.State, slot bootctl.Slot, name string) bool {
	return slices.ContainsFunc(s.Events, func(e bootctl.Event) bool { return e.Slot == slot && e.Event == name })
}

// checkCancel is called when an update in slot was taken back.
func checkCancel(t *testing.T, w world, s bootctl.State, slot bootctl.Slot) {
	if slot == w.runs || s.CheckBootable(slot) == nil || s.Active() == slot {
		t.Errorf("the update in slot %v was taken back, and may boot: %+v", slot, s)
	}
	if was, is := *w.state.Slot(slot.Other()), *s.Slot(slot.Other()); was != is {
		t.Errorf("taking back the update in slot %v changed the other one: %+v, was %+v", slot, is, was)
	}
	if was := w.state.Active(); w.state.Slot(slot).Status == bootctl.Held && w.state.OneShot != slot && s.Active() != was {
		t.Errorf("slot %v was held, and without it %v boots instead of %v: %+v", slot, s.Active(), was, w)
	}
	if again, _, err := s.Cancel(w.runs); err == nil && s.Staged(w.runs) == bootctl.SlotNone {
		t.Errorf("an update is taken back twice: %+v", again)
	}
}

// checkApply is called when an update may go into slot.
func checkApply(t *testing.T, w world, slot bootctl.Slot) {
	if !slot.IsRoot() || slot == w.runs {
		t.Errorf("an update goes to slot %v: %+v", slot, w)
	}
	if w.runs.IsRoot() && (!healthy(*w.state.Slot(w.runs)) || !w.state.LastBoot.Confirmed) {
		t.Errorf("an update is allowed on a slot that is not confirmed: %+v", w)
	}
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		_, err := w.state.BeginWrite(slot)
		if err == nil && healthy(*w.state.Slot(slot)) && !healthy(*w.state.Slot(slot.Other())) {
			t.Errorf("the only good slot %v may be overwritten: %+v", slot, w)
		}
	}
}

// checkWorld holds what is true of every world.
func checkWorld(t *testing.T, w world) {
	for i, e := range w.state.Slots {
		if e.Status == bootctl.Good && w.disk[i] != working {
			t.Errorf("slot %v is good and does not work: %+v", bootctl.SlotA+bootctl.Slot(i), w)
		}
		if !w.disk[i].complete() && e.Status != bootctl.Empty && e.Status != bootctl.Writing {
			t.Errorf("slot %v is %s and half written: %+v", bootctl.SlotA+bootctl.Slot(i), e.Status, w)
		}
	}
}

// endings follows boots that nobody confirms to where they end: in recovery,
// or, when they fail for no known reason, in a slot that was confirmed once.
type endings struct {
	t      *testing.T
	reason string      // of every failure, "" for none
	boots  map[key]int // until the end
}

// stays says whether the slot that runs is one that is not left for crashing.
func (e *endings) stays(w world) bool {
	return w.runs.IsRoot() && e.reason == "" && !w.state.LastBoot.OneShot &&
		w.state.Slot(w.runs).Kept && !healthy(*w.state.Slot(w.runs.Other()))
}

// crashing returns the number of boots until the end.
func (e *endings) crashing(w world) int {
	k := w.pack()
	if n, ok := e.boots[k]; ok {
		if n < 0 {
			e.t.Fatalf("boots go on forever from %+v", w)
		}
		return n
	}
	e.boots[k] = -1
	n := 1
	next := w.boot(e.t)
	if next.runs.IsRoot() && e.reason != "" {
		next.state = next.state.FailBoot(next.runs, e.reason)
	}
	if e.stays(next) {
		if again := next.off().boot(e.t); again.runs != next.runs && again.state.Reset == bootctl.ResetNone && !again.state.LastBoot.OneShot {
			e.t.Errorf("slot %v is kept, and %v boots after it: %+v", next.runs, again.runs, w)
		}
	} else if next.runs != bootctl.SlotRecovery {
		n += e.crashing(next.off())
	} else if again := next.off().boot(e.t); again.runs != bootctl.SlotRecovery && w.state.OneShot != bootctl.SlotRecovery {
		if w.state.Reset == bootctl.ResetNone || again.state.Reset == bootctl.ResetNone {
			e.t.Errorf("recovery is not the end: %v boots after it: %+v", again.runs, w)
		}
	}
	e.boots[k] = n
	return n
}

// checkRescue boots until something that works is confirmed, or recovery: it
// must not be recovery while there is a good slot, and not take longer than
// all tries together.
func checkRescue(t *testing.T, w world) {
	if w.state.Reset != bootctl.ResetNone || w.state.OneShot == bootctl.SlotRecovery {
		return
	}
	start := w
	const bound = 2*bootctl.DefaultTries + 2
	for range bound {
		w = w.boot(t)
		switch {
		case w.runs == bootctl.SlotRecovery:
			for i, e := range start.state.Slots {
				// One that runs out of boots just now is not good any more.
				if healthy(e) && e.FailedBoots < bootctl.MaxFailedBoots-1 || e.Status == bootctl.Good && e.Proven && !e.Kept {
					t.Errorf("recovery, and slot %v is good: %+v", bootctl.SlotA+bootctl.Slot(i), start)
				}
			}
			return
		case w.in(w.runs) == working && w.state.LastBoot.Failure == "":
			if _, err := w.state.Confirm(w.runs); err != nil {
				t.Errorf("slot %v works and cannot be confirmed: %v: %+v", w.runs, err, w)
			}
			return
		}
		w = w.off()
	}
	t.Errorf("%d boots and neither a slot that works nor recovery: %+v", bound, start)
}

// modelWithRace is how many worlds of the model are looked at with the race
// detector, which makes it ten times slower and has nothing to find there.
// make check runs all of it without.
const modelWithRace = 100_000

func TestModel(t *testing.T) {
	fresh := world{state: bootctl.New().Install(bootctl.SlotA, info(working)), disk: [2]content{working, nothing}}
	both := world{state: fresh.state.Install(bootctl.SlotB, info(working)), disk: [2]content{working, working}}
	empty := world{state: bootctl.New()}
	ends := []*endings{{t, "", make(map[key]int)}, {t, "x", make(map[key]int)}}
	seen := make(map[key]bool)
	var queue []key
	add := func(w world) {
		k := w.pack()
		if !seen[k] {
			seen[k] = true
			queue = append(queue, k)
		}
	}
	for _, w := range []world{fresh, both, empty} {
		add(w)
	}
	steps, depth, level := 0, 0, len(queue)
	var longest [2]int
	for i := 0; i < len(queue); i++ {
		if i == level {
			depth, level = depth+1, len(queue)
			if testing.Verbose() {
				t.Logf("depth %d: %d worlds", depth, level)
			}
		}
		if raceDetector && i == modelWithRace {
			break
		}
		w := queue[i].unpack()
		checkWorld(t, w)
		if w.runs == bootctl.SlotNone {
			for i, end := range ends {
				longest[i] = max(longest[i], end.crashing(w))
			}
			checkRescue(t, w)
		}
		w.steps(t, func(name string, to world) {
			steps++
			add(to)
			if t.Failed() {
				t.Fatalf("after %q from %+v", name, w)
			}
		})
	}
	t.Logf("%d worlds, %d steps between them, every sequence of them: no new world after %d steps; at most %d boots until one slot or recovery stays, %d when it is known that each failed",
		len(seen), steps, depth, longest[0], longest[1])
}
