package bootctl

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
