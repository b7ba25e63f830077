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
// cut must not use up the only one. Nothing found: recovery.
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
	}
	s.note(SlotNone, "rebuilt", "both records of the boot state were lost")
	return s
}

// CompareVersions orders versions as dpkg orders upstream versions: runs of
// digits as numbers, letters before other characters, a tilde before the end.
func CompareVersions(a, b string) int {
	for a != "" || b != "" {
		var x, y string
		x, a = cutRun(a, false)
		y, b = cutRun(b, false)
		for i := range max(len(x), len(y)) {
			if c := cmp.Compare(weight(x, i), weight(y, i)); c != 0 {
				return c
			}
		}
		x, a = cutRun(a, true)
		y, b = cutRun(b, true)
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		if c := cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)); c != 0 {
			return c
		}
	}
	return 0
}

// cutRun cuts the leading run of digits, or of anything else, off s.
func cutRun(s string, digits bool) (run, rest string) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9') == digits {
		i++
	}
	return s[:i], s[i:]
}

// weight is dpkg's order(): tilde, end, letters, everything else.
func weight(s string, i int) int {
	switch {
	case i >= len(s):
		return 0
	case s[i] == '~':
		return -1
	case s[i] >= 'A' && s[i] <= 'Z' || s[i] >= 'a' && s[i] <= 'z':
		return int(s[i])
	}
	return int(s[i]) + 256
}
