package bootctl

import (
	"cmp"
	"slices"
	"strings"
)

// Found is a slot whose content verifies, as found by its footer.
type Found struct {
	Slot Slot
	SlotInfo
	Created string // RFC 3339; breaks a tie of versions
}

// Rebuild makes a state from what is in the slots, for a device that lost
// both records. The newest version comes first. It gets one try when there is
// another slot to go on with; the last one gets DefaultTries, because a power
// cut must not use up the only one. Nothing found: recovery. The Floor is the
// lowest version found: of two, the higher one may never have been confirmed.
func Rebuild(found ...Found) State {
	s := New()
	found = slices.DeleteFunc(slices.Clone(found), func(f Found) bool { return !f.Slot.IsRoot() })
	slices.SortStableFunc(found, func(x, y Found) int {
		return cmp.Or(
			-CompareVersions(x.Version, y.Version),
			-strings.Compare(x.Created, y.Created),
			cmp.Compare(x.Slot, y.Slot))
	})
	for i, f := range found {
		e := SlotState{Status: Pending, TriesLeft: 1, Order: uint32(max(2-i, 0)), Rebuilt: true}
		if i == len(found)-1 {
			e.TriesLeft = DefaultTries
		}
		s = s.put(f.Slot, f.SlotInfo, e)
		if Ordered(f.Version) {
			s.Floor = f.Version
		}
	}
	s.note(SlotNone, "rebuilt", "both records of the boot state were lost")
	return s
}
