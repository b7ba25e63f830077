package bootctl

import (
	"reflect"
	"slices"
)

const (
	// DefaultTries is how often a staged slot is started before it is given
	// up. More than one, so that a power cut does not use up the only one.
	DefaultTries = 3
	// MaxFailedBoots is how many boots in a row a good slot may leave
	// unconfirmed before it yields.
	MaxFailedBoots = 8
	// MaxDenied and MaxEvents bound the lists in a State.
	MaxDenied = 16
	MaxEvents = 16
)

// A Status says what a slot holds, as far as booting it goes.
type Status string

// The statuses. Only Pending and Good boot on their own; Held and Bad boot by
// explicit order; Empty and Writing never do.
const (
	Empty   Status = "empty"
	Writing Status = "writing"
	Held    Status = "held" // whole, and waits for the order to switch to it
	Pending Status = "pending"
	Good    Status = "good"
	Bad     Status = "bad"
)

// SlotInfo describes the system in a slot.
type SlotInfo struct {
	Version  string `json:"version,omitempty"`
	Digest   string `json:"digest,omitempty"` // of the source image's manifest
	RootHash string `json:"root_hash,omitempty"`
	Image    string `json:"image,omitempty"` // reference that it came from
	// Downgrade says that an operator wanted it though its version is below
	// State.Floor: to confirm it lowers the floor.
	Downgrade bool `json:"downgrade,omitempty"`
}

// SlotState is what is known of slot A or B.
type SlotState struct {
	Status    Status `json:"status"`
	TriesLeft uint8  `json:"tries_left"`
	// Order says which slot is preferred: the higher one, and A when both
	// are equal.
	Order       uint32 `json:"order"`
	Version     string `json:"version,omitempty"`
	Digest      string `json:"digest,omitempty"`
	RootHash    string `json:"root_hash,omitempty"`
	Image       string `json:"image,omitempty"`
	FailedBoots uint8  `json:"failed_boots,omitempty"` // in a row
	LastFailure string `json:"last_failure,omitempty"`
	// Rebuilt marks a slot that was found by Rebuild and not confirmed since:
	// nothing is known against its content, so its digest is never denied.
	Rebuilt bool `json:"rebuilt,omitempty"`
	// Downgrade is SlotInfo's.
	Downgrade bool `json:"downgrade,omitempty"`
	// Proven marks content that was confirmed once. It is not left for want
	// of a confirmation alone unless there is another good slot.
	Proven bool `json:"proven,omitempty"`
	// Kept marks a Proven slot to which that happened: FailedBoots counts
	// from then on only boots of which it is known that, and why, they failed.
	Kept bool `json:"kept,omitempty"`
}

// Info returns the description given to Stage or Install.
func (e SlotState) Info() SlotInfo {
	return SlotInfo{e.Version, e.Digest, e.RootHash, e.Image, e.Downgrade}
}

// bootable says whether the slot boots without being ordered to.
func (e SlotState) bootable() bool {
	return e.Status == Pending && e.TriesLeft > 0 || e.healthy()
}

// healthy says whether the slot is good and has not been given up.
func (e SlotState) healthy() bool {
	return e.Status == Good && e.FailedBoots < MaxFailedBoots
}

// finished says whether the slot's content was written to its end.
func (e SlotState) finished() bool {
	return e.Status == Pending || e.Status == Good || e.Status == Bad || e.Status == Held
}

// A ResetPhase is how far a factory reset has come.
type ResetPhase string

// The phases, in their order.
const (
	ResetNone      ResetPhase = ""
	ResetRequested ResetPhase = "requested" // nothing was changed yet
	ResetWiping    ResetPhase = "wiping"    // var is being made anew
	ResetWiped     ResetPhase = "wiped"     // var is new; only the end is to be saved
)

// An Event is something that an operator may want to know of later.
type Event struct {
	Slot    Slot   `json:"slot"`
	Version string `json:"version,omitempty"`
	Event   string `json:"event"`
	Reason  string `json:"reason,omitempty"`
}

// A Boot is what the selector started last.
type Boot struct {
	Slot      Slot   `json:"slot"`
	Confirmed bool   `json:"confirmed,omitempty"`
	OneShot   bool   `json:"one_shot,omitempty"` // by explicit order: counts for nothing
	Try       uint8  `json:"try,omitempty"`      // 1 for the first try of a pending slot
	Reason    string `json:"reason,omitempty"`   // why this slot
	Failure   string `json:"failure,omitempty"`  // why this boot is known to have failed
	Unwell    bool   `json:"unwell,omitempty"`   // it runs, but the slot's LastFailure says what is not well
}

// State is the boot state. Every method leaves its receiver as it was and
// returns a new State that shares nothing with it that anybody changes.
type State struct {
	Slots   [2]SlotState `json:"slots"` // A and B: see Slot
	OneShot Slot         `json:"one_shot,omitempty"`
	Reset   ResetPhase   `json:"reset,omitempty"`
	// MakingVar says that the file system of var is being made: until it is
	// cleared, whatever a cut left there is void and is made again.
	MakingVar bool `json:"making_var,omitempty"`
	// Floor is the highest version that was confirmed; see Confirm.
	Floor string `json:"floor,omitempty"`
	// Denied lists digests that failed on this device, newest last.
	Denied   []string `json:"denied,omitempty"`
	Events   []Event  `json:"events,omitempty"` // newest last
	LastBoot Boot     `json:"last_boot"`
	// Fallback says why the device does not run what it was told to run;
	// empty when it does.
	Fallback string `json:"fallback,omitempty"`
}

// New returns the state of a device with two empty slots.
func New() State {
	return State{Slots: [2]SlotState{{Status: Empty}, {Status: Empty}}}
}

// Slot returns the entry of slot A or B for reading or, in a State that the
// caller owns, for writing. It panics for another slot.
func (s *State) Slot(slot Slot) *SlotState {
	switch slot {
	case SlotA:
		return &s.Slots[0]
	case SlotB:
		return &s.Slots[1]
	}
	panic("bootctl: State.Slot of " + slot.String())
}

// Equal says whether two states are the same.
func (s State) Equal(t State) bool {
	return reflect.DeepEqual(s.tidy(), t.tidy())
}

// IsDenied says whether the image with this digest fell back on this device.
func (s State) IsDenied(digest string) bool {
	return digest != "" && slices.Contains(s.Denied, digest)
}

// clone returns a copy that may be changed freely.
func (s State) clone() State {
	s.Denied = slices.Clone(s.Denied)
	s.Events = slices.Clone(s.Events)
	return s
}

// note appends an event about a slot.
func (s *State) note(slot Slot, event, reason string) {
	e := Event{Slot: slot, Event: event, Reason: reason}
	if slot.IsRoot() {
		e.Version = s.Slot(slot).Version
	}
	s.Events = append(s.Events, e)
	if n := len(s.Events) - MaxEvents; n > 0 {
		s.Events = slices.Delete(s.Events, 0, n)
	}
}

// deny puts a digest on the list of those that the agent leaves alone.
func (s *State) deny(digest string) {
	if digest == "" {
		return
	}
	s.allow(digest)
	s.Denied = append(s.Denied, digest)
	if n := len(s.Denied) - MaxDenied; n > 0 {
		s.Denied = slices.Delete(s.Denied, 0, n)
	}
}

// allow takes a digest off that list.
func (s *State) allow(digest string) {
	s.Denied = slices.DeleteFunc(s.Denied, func(d string) bool { return d == digest })
}
