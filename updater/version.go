package updater

import (
	"cmp"
	"strings"
)

// CompareVersions orders two versions by the UAPI version format
// specification, as systemd does: numbers by value, "~" before the end of the
// string ("2~rc1" < "2"), "-" and "^" and "." in this order as separators.
func CompareVersions(a, b string) int {
	for {
		a, b = skipOther(a), skipOther(b)
		if c, done := compareMark(a, b, '~'); done {
			return c
		} else if c := strings.HasPrefix(a, "~"); c {
			a, b = a[1:], b[1:]
			continue
		}
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
		if mark := commonMark(a, b); mark != 0 {
			a, b = a[1:], b[1:]
			continue
		}
		for _, mark := range []byte("-^.") {
			if c, done := compareMark(a, b, mark); done {
				return c
			}
		}
		var c int
		if isDigit(a[0]) || isDigit(b[0]) {
			c, a, b = compareRun(a, b, isDigit, compareNumbers)
		} else {
			c, a, b = compareRun(a, b, isLetter, strings.Compare)
		}
		if c != 0 {
			return c
		}
	}
}

// compareMark says which string is lower because only it starts with mark.
func compareMark(a, b string, mark byte) (c int, done bool) {
	inA, inB := a != "" && a[0] == mark, b != "" && b[0] == mark
	switch {
	case inA && !inB:
		return -1, true
	case inB && !inA:
		return 1, true
	}
	return 0, false
}

func commonMark(a, b string) byte {
	if a[0] == b[0] && strings.IndexByte("-^.", a[0]) >= 0 {
		return a[0]
	}
	return 0
}

func compareRun(a, b string, in func(byte) bool, compare func(a, b string) int) (c int, restA, restB string) {
	runA, restA := cutRun(a, in)
	runB, restB := cutRun(b, in)
	return compare(runA, runB), restA, restB
}

// compareNumbers compares runs of digits of any length; no digits are less
// than any.
func compareNumbers(a, b string) int {
	if a == "" || b == "" {
		return cmp.Compare(len(a), len(b))
	}
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

func cutRun(s string, in func(byte) bool) (run, rest string) {
	i := 0
	for i < len(s) && in(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func skipOther(s string) string {
	for s != "" && !isDigit(s[0]) && !isLetter(s[0]) && strings.IndexByte("~-^.", s[0]) < 0 {
		s = s[1:]
	}
	return s
}
