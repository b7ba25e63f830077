package updater

import (
	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
)

// Changed is the outcome of an order to the boot state.
type Changed struct {
	Slot    bootctl.Slot `json:"slot"` // that the order was about
	Next    bootctl.Slot `json:"next"` // boots next
	Version string       `json:"version,omitempty"`
	Changed bool         `json:"changed"` // false: it was so before
}

// commit saves a state that an order made, unless nothing is different.
func (s *System) commit(old, state bootctl.State, slot bootctl.Slot) (*Changed, error) {
	c := &Changed{Slot: slot, Next: state.Active(), Changed: !state.Equal(old)}
	if slot.IsRoot() {
		c.Version = state.Slot(slot).Version
	}
	if !c.Changed {
		return c, nil
	}
	return c, s.save(state)
}

// MarkGood confirms the slot that was booted.
func (s *System) MarkGood() (*Changed, error) {
	old, err := s.loadToChange()
	if err != nil {
		return nil, err
	}
	slot := s.lastBooted(old)
	state, err := old.Confirm(slot)
	if err != nil {
		return nil, err
	}
	return s.commit(old, state, slot)
}

// lastBooted is the slot that runs, or that ran last, or that a new disk
// boots.
func (s *System) lastBooted(state bootctl.State) bootctl.Slot {
	switch {
	case s.booted != nil:
		return s.booted.Slot
	case state.LastBoot.Slot != bootctl.SlotNone:
		return state.LastBoot.Slot
	}
	return state.Active()
}

// MarkBad leaves a slot by order and denies its image; SlotNone is the slot
// that was booted last.
func (s *System) MarkBad(slot bootctl.Slot, reason string) (*Changed, error) {
	old, err := s.loadToChange()
	if err != nil {
		return nil, err
	}
	if slot == bootctl.SlotNone {
		slot = s.lastBooted(old)
	}
	state, err := old.MarkBad(slot, reason)
	if err != nil {
		return nil, err
	}
	return s.commit(old, state, slot)
}

// Rollback lets the other slot boot next.
func (s *System) Rollback() (*Changed, error) {
	old, err := s.loadToChange()
	if err != nil {
		return nil, err
	}
	state, slot, err := old.Rollback()
	if err != nil {
		return nil, err
	}
	return s.commit(old, state, slot)
}

// FactoryReset orders the next boot to make /var anew. The slots stay.
func (s *System) FactoryReset() (*Changed, error) {
	old, err := s.loadToChange()
	if err != nil {
		return nil, err
	}
	if old.Reset != bootctl.ResetNone {
		return nil, fault.Errorf(fault.Nothing, "nothing to do: a factory reset is under way (%s)", old.Reset)
	}
	return s.commit(old, old.RequestReset(), bootctl.SlotNone)
}
