package bootctl

import (
	"cmp"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
)

// unordered starts a version that was made from a digest.
const unordered = "sha256."

// Ordered says whether a version has an order: one that was made from a
// digest has none.
func Ordered(version string) bool {
	return version != "" && !strings.HasPrefix(version, unordered)
}

// BelowFloor says whether a version is lower than the Floor.
func (s State) BelowFloor(version string) bool {
	return s.Floor != "" && Ordered(version) && CompareVersions(version, s.Floor) < 0
}

// CheckFloor returns an error of kind fault.Refused for a version that is
// lower than the Floor.
func (s State) CheckFloor(version string) error {
	if s.BelowFloor(version) {
		return fault.Errorf(fault.Refused, "version %s is lower than %s, which was confirmed on this device before", version, s.Floor)
	}
	return nil
}

// setFloor moves the Floor to a slot's version that was confirmed just now:
// up, and down when that was ordered.
func (s *State) setFloor(slot Slot) {
	e := s.Slot(slot)
	lower := e.Downgrade && s.BelowFloor(e.Version)
	e.Downgrade = false
	if lower {
		s.note(slot, "floor lowered", "from "+s.Floor)
	}
	if lower || Ordered(e.Version) && (s.Floor == "" || CompareVersions(e.Version, s.Floor) > 0) {
		s.Floor = e.Version
	}
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
