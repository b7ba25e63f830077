package initramfs_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// abupdate.timing logs where each phase ends, in this order, and nothing does
// without it.
func TestTiming(t *testing.T) {
	marks := func(f *fakeSystem) (found []string) {
		for _, line := range f.log {
			if _, mark, ok := strings.Cut(line, "timing: "); ok {
				found = append(found, mark)
			}
		}
		return found
	}
	var want []string
	for _, phase := range []string{"start", "modules", "disk", "state", "slot", "verity", "mounts", "var", "switch"} {
		want = append(want, phase+" 1.50 2.25")
	}
	d := installed(t)
	if got := marks(d.boot()); got != nil {
		t.Errorf("without abupdate.timing: %q", got)
	}
	d.cmdline += " abupdate.timing"
	if diff := cmp.Diff(want, marks(d.boot())); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
}
