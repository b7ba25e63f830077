package bootctl

import (
	"github.com/abupdate/abupdate/internal/fault"
)

// Confirm marks the slot good that was booted last: mark-good. It is refused
// for another slot, and for a boot that is known to have failed. The version
// becomes the Floor when it is higher, or when the slot was staged with
// SlotInfo.Downgrade.
func (s State) Confirm(slot Slot) (State, error) {
	switch b := s.LastBoot; {
	case !slot.IsRoot():
		return s, fault.Errorf(fault.Refused, "slot %v cannot be marked good", slot)
	case b.Slot == SlotNone && s.Slot(slot).healthy():
		return s, nil // a new disk: good as installed
	case b.Slot != slot:
		return s, fault.Errorf(fault.Refused, "slot %v is not the one that was booted", slot)
	case b.Failure != "":
		return s, fault.Errorf(fault.Refused, "this boot of slot %v failed: %s", slot, b.Failure)
	case !s.Slot(slot).finished():
		return s, fault.Errorf(fault.Refused, "slot %v is %s", slot, s.Slot(slot).Status)
	}
	s = s.clone()
	e := s.Slot(slot)
	if !e.healthy() {
		// What was given up, or never ran before, runs after all.
		s.Fallback = ""
		s.note(slot, "confirmed", "")
	}
	e.Status, e.TriesLeft, e.FailedBoots, e.LastFailure, e.Rebuilt = Good, 0, 0, "", false
	e.Proven, e.Kept = true, false
	s.setFloor(slot)
	s.allow(e.Digest)
	s.LastBoot.Confirmed, s.LastBoot.Unwell = true, false
	return s, nil
}

// CanLeave says whether the booted slot may be given up at once for the other
// one: it is tried for the first times, and that one is good.
func (s State) CanLeave(slot Slot) bool {
	return slot.IsRoot() && s.Slot(slot).Status == Pending && s.Slot(slot.Other()).healthy()
}

// FailCheck records why a slot that runs is not confirmed. The boot counts as
// one that nobody confirmed: it is not known that the next one fails too.
func (s State) FailCheck(slot Slot, reason string) State {
	if !slot.IsRoot() || s.LastBoot.Slot != slot || s.LastBoot.Confirmed {
		return s
	}
	s = s.clone()
	reason = clip(reason, maxReason)
	last := Event{Slot: slot, Version: s.Slot(slot).Version, Event: "check failed", Reason: reason}
	if n := len(s.Events); n == 0 || s.Events[n-1] != last { // a good slot is booted often
		s.note(slot, last.Event, reason)
	}
	s.Slot(slot).LastFailure, s.LastBoot.Unwell = reason, true
	return s
}

// MarkBad leaves a slot by order: it no longer boots on its own and its
// digest is denied. Refused for the only good slot.
func (s State) MarkBad(slot Slot, reason string) (State, error) {
	switch {
	case !slot.IsRoot():
		return s, fault.Errorf(fault.Refused, "slot %v cannot be marked bad", slot)
	case !s.Slot(slot).finished():
		return s, fault.Errorf(fault.Refused, "slot %v holds no system: it is %s", slot, s.Slot(slot).Status)
	case s.Slot(slot).healthy() && !s.Slot(slot.Other()).healthy():
		return s, fault.Errorf(fault.Refused, "slot %v is the only good one", slot)
	}
	if reason == "" {
		reason = "marked bad"
	} else {
		reason = "marked bad: " + reason
	}
	wasFirst := s.first() == slot
	s = s.clone()
	e := s.Slot(slot)
	e.Status, e.TriesLeft, e.Order, e.LastFailure = Bad, 0, 0, reason
	s.deny(e.Digest)
	s.note(slot, "bad", reason)
	if wasFirst {
		s.Fallback = describe(slot, *e) + " " + reason
	}
	if s.LastBoot.Slot == slot {
		s.LastBoot.Failure, s.LastBoot.Confirmed = reason, false
	}
	if s.OneShot == slot {
		s.OneShot = SlotNone
	}
	return s, nil
}

// first is the slot that was ordered to boot, whether or not this boot of it
// turns out to be its last.
func (s *State) first() Slot {
	for _, slot := range s.byOrder() {
		if e := s.Slot(slot); e.Status == Pending || e.healthy() {
			return slot
		}
	}
	return SlotNone
}

// Rollback prefers the other slot to the one that is first in order. Refused
// unless that one is good. It returns the slot that boots next.
func (s State) Rollback() (State, Slot, error) {
	from := s.first()
	if from == SlotNone {
		return s, SlotNone, fault.Errorf(fault.Refused, "no slot to roll back from")
	}
	to := from.Other()
	if s.Slot(to).Status != Good {
		return s, SlotNone, fault.Errorf(fault.Refused, "nothing to roll back to: slot %v is %s", to, s.Slot(to).Status)
	}
	s = s.clone()
	s.makeFirst(to)
	s.Slot(to).FailedBoots = 0
	s.OneShot, s.Fallback = SlotNone, ""
	s.note(to, "rolled back", "from "+describe(from, *s.Slot(from)))
	return s, to, nil
}

// SetOneShot orders what the next boot, and only that one, starts; SlotNone
// takes the order back. A bad slot is started too. See CheckBootable.
func (s State) SetOneShot(slot Slot) State {
	s.OneShot = slot
	return s
}

// FailBoot records why this boot failed. The try was counted before it began,
// and Next counts the failure.
func (s State) FailBoot(slot Slot, reason string) State {
	s = s.clone()
	s.note(slot, "boot failed", reason)
	if slot.IsRoot() {
		s.Slot(slot).LastFailure = reason
	}
	if s.LastBoot.Slot == slot {
		s.LastBoot.Failure, s.LastBoot.Confirmed = reason, false
	}
	return s
}
