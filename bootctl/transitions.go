package bootctl

import (
	"github.com/abupdate/abupdate/internal/fault"
)

// CheckBootable returns an error of kind fault.Refused unless the slot can be
// booted when it is ordered: it holds a system that was written to its end.
// Recovery always can.
func (s State) CheckBootable(slot Slot) error {
	switch {
	case slot == SlotRecovery:
		return nil
	case !slot.IsRoot():
		return fault.Errorf(fault.Refused, "slot %v cannot be booted", slot)
	case !s.Slot(slot).finished():
		return fault.Errorf(fault.Refused, "slot %v holds no system: it is %s", slot, s.Slot(slot).Status)
	}
	return nil
}

// CanApply returns an error of kind fault.Refused when no update may be
// written now. booted is the slot that runs, SlotNone for a disk that does
// not run, SlotRecovery in recovery.
func (s State) CanApply(booted Slot) error {
	if s.Reset != ResetNone {
		return fault.Errorf(fault.Refused, "a factory reset is under way (%s)", s.Reset)
	}
	if !booted.IsRoot() {
		return nil
	}
	if b := s.LastBoot; b.Slot != booted || !b.Confirmed || s.Slot(booted).Status != Good {
		return fault.Errorf(fault.Refused, "the booted slot %v is not confirmed; confirm it with mark-good first", booted)
	}
	return nil
}

// Inactive returns the slot that an update goes to. While A or B runs it is
// the other one; else the one that is not needed to boot.
func (s State) Inactive(booted Slot) Slot {
	if booted.IsRoot() {
		return booted.Other()
	}
	a, b := s.Slots[0].healthy(), s.Slots[1].healthy()
	switch first := s.byOrder()[0]; {
	case a && b && s.LastBoot.Slot.IsRoot():
		return s.LastBoot.Slot.Other()
	case a && b:
		return first.Other()
	case a:
		return SlotB
	case b:
		return SlotA
	case s.Slot(first).bootable():
		return first.Other()
	}
	return SlotA
}

// BeginWrite says that the slot's content is about to be overwritten. Refused
// for a good slot that was booted last or that is the only one to fall back
// to. To write a slot again that was left half written is allowed.
func (s State) BeginWrite(slot Slot) (State, error) {
	if !slot.IsRoot() {
		return s, fault.Errorf(fault.Refused, "slot %v takes no updates", slot)
	}
	if s.Slot(slot).healthy() {
		if s.LastBoot.Slot == slot {
			return s, fault.Errorf(fault.Refused, "slot %v is the one that was booted", slot)
		}
		if !s.Slot(slot.Other()).healthy() {
			return s, fault.Errorf(fault.Refused, "slot %v is the only good one", slot)
		}
	}
	return s.BeginRestore(slot), nil
}

// BeginRestore is BeginWrite by an operator in recovery, where the golden
// image is there to start over from: any slot may be overwritten.
func (s State) BeginRestore(slot Slot) State {
	if !slot.IsRoot() {
		return s
	}
	s = s.clone()
	*s.Slot(slot) = SlotState{Status: Writing}
	s.forget(slot)
	return s
}

// forget drops what was said about the content that a slot no longer has.
func (s *State) forget(slot Slot) {
	if s.LastBoot.Slot == slot {
		s.LastBoot = Boot{}
	}
	if s.OneShot == slot {
		s.OneShot = SlotNone
	}
}

// AbortWrite makes a slot empty whose writing was given up.
func (s State) AbortWrite(slot Slot, reason string) State {
	if !slot.IsRoot() || s.Slot(slot).Status != Writing {
		return s
	}
	s = s.clone()
	*s.Slot(slot) = SlotState{Status: Empty, LastFailure: reason}
	s.note(slot, "write aborted", reason)
	return s
}

// Stage makes a slot that was written and read back the first one to boot,
// with DefaultTries tries. To save this State is what commits an update.
func (s State) Stage(slot Slot, info SlotInfo) State {
	if !slot.IsRoot() {
		return s
	}
	s = s.put(slot, info, SlotState{Status: Pending, TriesLeft: DefaultTries})
	s.makeFirst(slot)
	s.note(slot, "staged", "")
	return s
}

// Install makes a slot good without a try: for a new disk and for a restored
// golden image. It is preferred as much as the other slot; A before B.
func (s State) Install(slot Slot, info SlotInfo) State {
	if !slot.IsRoot() {
		return s
	}
	order := max(s.Slot(slot.Other()).Order, 1)
	s = s.put(slot, info, SlotState{Status: Good, Order: order})
	s.allow(info.Digest)
	s.Fallback = ""
	s.note(slot, "installed", "")
	return s
}

func (s State) put(slot Slot, info SlotInfo, e SlotState) State {
	s = s.clone()
	e.Version, e.Digest, e.RootHash, e.Image = info.Version, info.Digest, info.RootHash, info.Image
	*s.Slot(slot) = e
	s.forget(slot)
	return s
}

// Confirm marks the slot good that was booted last: mark-good. It is refused
// for another slot, and for a boot that is known to have failed.
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
	s.allow(e.Digest)
	s.LastBoot.Confirmed = true
	return s, nil
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

// RequestReset orders a factory reset, which the next boot runs in recovery.
func (s State) RequestReset() State {
	if s.Reset != ResetNone {
		return s
	}
	s = s.clone()
	s.Reset = ResetRequested
	s.note(SlotNone, "reset requested", "")
	return s
}

// AdvanceReset records how far the factory reset has come. ResetNone ends it.
func (s State) AdvanceReset(phase ResetPhase) State {
	if s.Reset == phase {
		return s
	}
	s = s.clone()
	if phase == ResetNone {
		s.note(SlotNone, "reset done", "")
	}
	s.Reset = phase
	return s
}
