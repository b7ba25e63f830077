package updater_test

import (
	"testing"

	"github.com/abupdate/abupdate/updater"
)

func TestCompareVersions(t *testing.T) {
	// Each list is in ascending order; rows of the specification among them.
	for _, list := range [][]string{
		{"1", "2", "10", "11", "100"},
		{"1.2", "1.10", "1.10.1", "2"},
		{"2~rc1", "2~rc2", "2", "2-1", "2.1"},
		{"122.1", "123~rc1-1", "123", "123-a", "123-a.1", "123-1", "123-1.1", "123^post1", "123.a-1", "123.1-1", "123a-1", "124-1"},
		{"", "0", "1"},
		{"12.7", "12.8+deb1"},
		{"99999999999999999999998", "99999999999999999999999"},
		{"1.a", "1.b", "1.ba"},
	} {
		for i, a := range list {
			for j, b := range list {
				got, want := updater.CompareVersions(a, b), min(max(i-j, -1), 1)
				if got != want {
					t.Errorf("CompareVersions(%q, %q) = %d; want %d", a, b, got, want)
				}
			}
		}
	}
	for _, same := range [][2]string{{"01", "1"}, {"v1", "v1"}, {"1+2", "1_2"}} {
		if got := updater.CompareVersions(same[0], same[1]); got != 0 {
			t.Errorf("CompareVersions(%q, %q) = %d; want 0", same[0], same[1], got)
		}
	}
}
