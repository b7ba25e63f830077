package bootctl

import (
	"cmp"
	"fmt"
)

// A Choice is what to boot now.
type Choice struct {
	Slot   Slot   // A, B or SlotRecovery
	Reason string // why, in a few words
	Try    int    // 1 for the first try of a pending slot, 0 when tries do not count
}

const notConfirmed = "was started and not confirmed"

// Next decides what boots now. The State that it returns must be saved before
// the slot is touched: the try is already taken off there, and a boot before
// this one that was not confirmed is already held against its slot.
//
// A factory reset comes first, then a one-shot order, then the slots in their
// order, each while it is pending with tries left or good and not given up.
// When none is left it is one that was given up only because nobody confirmed
// it, and that was confirmed before: it is kept. Else it is recovery, which is
// where every sequence of boots ends that are known to fail.
func (s State) Next() (Choice, State) {
	s = s.clone()
	s.settle()
	c, oneShot := s.choose()
	if c.Slot == SlotRecovery && c.Reason != s.LastBoot.Reason {
		s.note(SlotRecovery, "recovery", c.Reason)
	}
	s.LastBoot = Boot{Slot: c.Slot, OneShot: oneShot, Try: uint8(c.Try), Reason: c.Reason}
	return c, s
}

// Active returns what Next would choose.
func (s State) Active() Slot {
	c, _ := s.Next()
	return c.Slot
}

func (s *State) choose() (c Choice, oneShot bool) {
	if s.Reset != ResetNone {
		return Choice{Slot: SlotRecovery, Reason: "factory reset " + string(s.Reset)}, false
	}
	if slot := s.OneShot; slot != SlotNone {
		s.OneShot = SlotNone
		err := s.CheckBootable(slot)
		if err == nil {
			return Choice{Slot: slot, Reason: "ordered for this boot"}, true
		}
		s.note(slot, "order ignored", err.Error())
	}
	s.keep()
	for _, slot := range s.byOrder() {
		switch e := s.Slot(slot); {
		case e.healthy() && e.Kept && !s.Slot(slot.Other()).healthy():
			return Choice{Slot: slot, Reason: s.why("good, not confirmed, and there is no other good slot")}, false
		case e.healthy():
			return Choice{Slot: slot, Reason: s.why("good")}, false
		case e.bootable():
			e.TriesLeft--
			try := int(e.FailedBoots) + 1
			return Choice{Slot: slot, Reason: s.why(fmt.Sprintf("try %d", try)), Try: try}, false
		}
	}
	reason := fmt.Sprintf("no slot boots: a is %s, b is %s", s.Slots[0].condition(), s.Slots[1].condition())
	if s.Fallback == "" {
		s.Fallback = reason
	}
	return Choice{Slot: SlotRecovery, Reason: reason}, false
}

// keep takes a slot back that was given up for want of a confirmation when no
// slot is left that would boot.
func (s *State) keep() {
	if s.Slots[0].bootable() || s.Slots[1].bootable() {
		return
	}
	for _, slot := range s.byOrder() {
		if e := s.Slot(slot); e.Status == Good && e.Proven && !e.Kept {
			s.keepSlot(slot)
			return
		}
	}
}

func (s *State) keepSlot(slot Slot) {
	e := s.Slot(slot)
	s.note(slot, "kept", fmt.Sprintf("not confirmed in %d boots in a row, and there is no other good slot", e.FailedBoots))
	e.Kept, e.FailedBoots = true, 0
}

// why adds the reason of a fallback to the reason of a choice.
func (s *State) why(reason string) string {
	if s.Fallback != "" {
		return reason + ", fallback: " + s.Fallback
	}
	return reason
}

// byOrder returns A and B, the preferred one first.
func (s *State) byOrder() [2]Slot {
	if s.Slots[1].Order > s.Slots[0].Order {
		return [2]Slot{SlotB, SlotA}
	}
	return [2]Slot{SlotA, SlotB}
}

// condition is the status in words, for a slot that does not boot.
func (e SlotState) condition() string {
	if e.Status == Good && !e.healthy() && e.Kept {
		return fmt.Sprintf("good but failed %d times", e.FailedBoots)
	}
	if e.Status == Good && !e.healthy() {
		return fmt.Sprintf("good but was not confirmed %d times", e.FailedBoots)
	}
	return string(e.Status)
}

// settle holds an unconfirmed boot against the slot that was booted, and
// gives up the slots that have no chance left.
func (s *State) settle() {
	b := s.LastBoot
	if b.Slot.IsRoot() && !b.Confirmed && !b.OneShot {
		s.count(b)
	}
	for _, slot := range []Slot{SlotA, SlotB} {
		if e := s.Slot(slot); e.Status == Pending && e.TriesLeft == 0 {
			s.giveUp(slot, "not confirmed in any try")
			if !e.Rebuilt {
				s.deny(e.Digest)
			}
			e.Status, e.Order = Bad, 0
		}
	}
}

func (s *State) count(b Boot) {
	e := s.Slot(b.Slot)
	if e.Status != Pending && e.Status != Good {
		return
	}
	known := b.Failure != ""
	if !known {
		b.Failure = notConfirmed
		if b.Unwell {
			b.Failure = cmp.Or(e.LastFailure, notConfirmed)
		}
		if e.Status == Pending { // a good one that nobody confirms would fill the list
			s.note(b.Slot, "boot failed", b.Failure)
		}
	}
	e.LastFailure = b.Failure
	wasHealthy, alone := e.healthy(), !s.Slot(b.Slot.Other()).healthy()
	switch {
	case e.Kept && alone && !known:
		e.FailedBoots = 0
	case e.FailedBoots < 255:
		e.FailedBoots++
	}
	switch {
	case !wasHealthy || e.healthy():
	case e.Proven && alone && !e.Kept:
		s.keepSlot(b.Slot)
	default:
		reason := "not confirmed in %d boots in a row"
		if e.Kept {
			reason = "failed %d times in a row"
		}
		s.giveUp(b.Slot, fmt.Sprintf(reason, e.FailedBoots))
		if o := b.Slot.Other(); s.Slot(o).bootable() {
			s.makeFirst(o)
		}
	}
}

// giveUp says that a slot is left for another one.
func (s *State) giveUp(slot Slot, reason string) {
	e := s.Slot(slot)
	if e.LastFailure != "" && e.LastFailure != notConfirmed {
		reason += ": " + e.LastFailure
	}
	s.note(slot, "gave up", reason)
	s.Fallback = describe(slot, *e) + " " + reason
}

// describe names a slot and its version.
func describe(slot Slot, e SlotState) string {
	if e.Version == "" {
		return fmt.Sprintf("slot %v", slot)
	}
	return fmt.Sprintf("slot %v (%s)", slot, e.Version)
}

// makeFirst prefers slot to the other one.
func (s *State) makeFirst(slot Slot) {
	s.Slot(slot).Order = 2
	o := s.Slot(slot.Other())
	o.Order = min(o.Order, 1)
}
