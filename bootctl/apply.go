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

// Hold is Stage without the switch: the slot is whole, and what boots next is
// what it was. Stage switches to it later.
func (s State) Hold(slot Slot, info SlotInfo) State {
	if !slot.IsRoot() {
		return s
	}
	s = s.put(slot, info, SlotState{Status: Held})
	s.note(slot, "held", "")
	return s
}

// Staged returns the slot besides the booted one that waits to be switched to
// or for its first boot: SlotNone when there is none.
func (s State) Staged(booted Slot) Slot {
	for _, slot := range []Slot{SlotA, SlotB} {
		if e := s.Slot(slot); slot != booted && (e.Status == Held || e.Status == Pending && !e.Rebuilt) {
			return slot
		}
	}
	return SlotNone
}

// Cancel takes an update back that waits in a slot, held or staged: it is as
// if its writing had been interrupted, so that the same update, wanted again,
// is not fetched again. booted is the slot that runs, SlotNone for a disk that
// does not run. The error is of kind fault.Nothing when nothing waits.
func (s State) Cancel(booted Slot) (State, Slot, error) {
	slot := s.Staged(booted)
	if slot == SlotNone {
		if booted.IsRoot() && s.Slot(booted).Status == Pending {
			return s, SlotNone, fault.Errorf(fault.Refused, "the update in slot %v runs: rollback or mark-bad leaves it", booted)
		}
		return s, SlotNone, fault.Errorf(fault.Nothing, "nothing to cancel: no update waits in a slot")
	}
	if s.Slot(slot).Status == Pending && !s.Slot(slot.Other()).healthy() {
		return s, SlotNone, fault.Errorf(fault.Refused, "slot %v is the only one that boots: slot %v is %s", slot, slot.Other(), s.Slot(slot.Other()).condition())
	}
	version := s.Slot(slot).Version
	s = s.BeginRestore(slot)
	s.Slot(slot).LastFailure = "canceled"
	s.note(slot, "canceled", version)
	return s, slot, nil
}

func (s State) put(slot Slot, info SlotInfo, e SlotState) State {
	s = s.clone()
	e.Version, e.Digest, e.RootHash, e.Image = info.Version, info.Digest, info.RootHash, info.Image
	e.Downgrade = info.Downgrade
	*s.Slot(slot) = e
	s.forget(slot)
	return s
}
