package updater

import (
	"github.com/abupdate/abupdate/bootctl"
)

// Status tells what a disk holds and what it boots.
type Status struct {
	Disk string `json:"disk"`
	// Booted is the slot that this machine runs, null for a disk that it
	// did not boot from.
	Booted *bootctl.Slot `json:"booted"`
	// Next is what boots next.
	Next bootctl.Slot `json:"next"`
	// Overlay is what holds changes of the running root, null where none runs.
	Overlay *Room `json:"overlay,omitempty"`
	// Selector is what chooses the slot, null when it is not known.
	Selector *Selector `json:"selector,omitempty"`
	// Pending is the slot with a staged or not yet confirmed system,
	// Rollback the one that rollback would go to; null when there is none.
	Pending  *bootctl.Slot `json:"pending"`
	Rollback *bootctl.Slot `json:"rollback"`
	// Held is the slot with an update that waits to be switched to.
	Held *bootctl.Slot `json:"held"`
	// Floor is the version below which an update is refused.
	Floor string `json:"floor,omitempty"`
	// Fallback says why the device does not run what it was told to run.
	Fallback *string               `json:"fallback"`
	Slots    map[string]SlotStatus `json:"slots"`
	Reset    bootctl.ResetPhase    `json:"reset,omitempty"`
	Denied   []string              `json:"denied,omitempty"`
	Events   []bootctl.Event       `json:"events,omitempty"`
}

// SlotStatus tells what one slot holds. Recovery has neither tries nor order.
type SlotStatus struct {
	State        bootctl.Status `json:"state"`
	Version      string         `json:"version"`
	Title        string         `json:"title,omitempty"`
	Image        string         `json:"image,omitempty"`
	Digest       string         `json:"digest"`
	RootHash     string         `json:"root_hash"`
	Kernel       string         `json:"kernel,omitempty"`
	Architecture string         `json:"architecture,omitempty"`
	TriesLeft    uint8          `json:"tries_left"`
	Order        uint32         `json:"order"`
	FailedBoots  uint8          `json:"failed_boots,omitempty"`
	Kept         bool           `json:"kept,omitempty"` // boots on unconfirmed: there is no other good slot
	LastFailure  string         `json:"last_failure,omitempty"`
	ImageBytes   int64          `json:"image_bytes,omitempty"`
	SlotBytes    int64          `json:"slot_bytes"`
	// Problem says what is wrong with the slot's footer or manifest.
	Problem string `json:"problem,omitempty"`
	SignatureStatus
}

// Status reads the boot state and the slots' manifests.
func (s *System) Status() (*Status, error) {
	if err := s.checkTrust(); err != nil {
		return nil, err
	}
	state, err := s.load()
	if err != nil {
		return nil, err
	}
	st := &Status{
		Disk: s.name, Next: state.Active(), Slots: make(map[string]SlotStatus),
		Floor: state.Floor, Reset: state.Reset, Denied: state.Denied, Events: state.Events,
	}
	if s.booted != nil {
		st.Booted = &s.booted.Slot
		st.Overlay = roomOf(overlayDir)
	}
	if sel := s.facts(state).selector; sel.Kernel != "" {
		sel.complete(s, "")
		st.Selector = &sel
	}
	if state.Fallback != "" {
		st.Fallback = &state.Fallback
	}
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		st.Slots[slot.String()] = s.slotStatus(slot, *state.Slot(slot))
		switch state.Slot(slot).Status {
		case bootctl.Pending:
			st.Pending = &slot
		case bootctl.Held:
			st.Held = &slot
		}
	}
	if _, err := s.disk.SlotPartition(bootctl.SlotRecovery); err == nil {
		st.Slots[bootctl.SlotRecovery.String()] = s.slotStatus(bootctl.SlotRecovery, bootctl.SlotState{})
	}
	if _, to, err := state.Rollback(); err == nil {
		st.Rollback = &to
	}
	return st, nil
}

func (s *System) slotStatus(slot bootctl.Slot, e bootctl.SlotState) SlotStatus {
	st := SlotStatus{
		State: e.Status, Version: e.Version, Image: e.Image, Digest: e.Digest, RootHash: e.RootHash,
		TriesLeft: e.TriesLeft, Order: e.Order, FailedBoots: e.FailedBoots, Kept: e.Kept, LastFailure: e.LastFailure,
	}
	if sec, err := s.slot(slot); err == nil {
		st.SlotBytes = sec.Size()
	}
	content, err := s.content(slot)
	if err != nil {
		if slot == bootctl.SlotRecovery {
			st.State = bootctl.Empty
		}
		if whole := e.Status == bootctl.Pending || e.Status == bootctl.Good || e.Status == bootctl.Held; !isEmpty(err) || whole {
			st.Problem = err.Error()
		}
		return st
	}
	st.SignatureStatus = s.signatureStatus(content)
	m := content.Manifest
	st.Kernel, st.Architecture, st.ImageBytes, st.Title = m.Kernel, m.Architecture, m.ImageBytes, m.Title
	if slot == bootctl.SlotRecovery {
		st.State, st.Version, st.Digest, st.RootHash, st.Image = bootctl.Good, m.Version, m.SourceDigest, m.RootHash, m.SourceImage
	}
	if e.RootHash != "" && e.RootHash != m.RootHash {
		st.Problem = "the slot holds root hash " + m.RootHash
	}
	return st
}
