// Package bootctl is the boot state of a device: which slot boots next, how
// many tries it has left, and what became of the boots before.
//
// A State is a value. What happens to it is decided by pure methods, which
// return the new State; only a Store does I/O. The rules are those of
// docs/crash-safety.md: whatever a method decides is saved in one record
// before anything acts on it.
package bootctl

import (
	"fmt"
)

// A Slot names a place that a system can be started from.
type Slot uint8

// The slots. SlotNone is the zero value: no slot.
const (
	SlotNone Slot = iota
	SlotA
	SlotB
	SlotRecovery
)

var slotNames = [...]string{"none", "a", "b", "recovery"}

// String returns "a", "b", "recovery" or "none".
func (s Slot) String() string {
	if int(s) < len(slotNames) {
		return slotNames[s]
	}
	return fmt.Sprintf("slot(%d)", uint8(s))
}

// ParseSlot is the inverse of String.
func ParseSlot(name string) (Slot, error) {
	for i, n := range slotNames {
		if n == name {
			return Slot(i), nil
		}
	}
	return SlotNone, fmt.Errorf("slot %q is none of a, b, recovery", name)
}

// Other returns the other one of A and B, and SlotNone for everything else.
func (s Slot) Other() Slot {
	switch s {
	case SlotA:
		return SlotB
	case SlotB:
		return SlotA
	}
	return SlotNone
}

// IsRoot says whether s is A or B: a slot that updates go to.
func (s Slot) IsRoot() bool { return s == SlotA || s == SlotB }

// MarshalText implements encoding.TextMarshaler.
func (s Slot) MarshalText() ([]byte, error) {
	if int(s) >= len(slotNames) {
		return nil, fmt.Errorf("slot %d does not exist", uint8(s))
	}
	return []byte(s.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Slot) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSlot(string(text))
	return err
}
