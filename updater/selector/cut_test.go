package selector_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/selector"
)

// TestUpdateSurvivesEveryCut cuts the power after every operation of a whole
// update of the selector, over five boots, with every subset of what was not
// synced. Whatever is left: a selector that was confirmed boots, at once or after
// one that is tried, and the update goes on to its end.
func TestUpdateSurvivesEveryCut(t *testing.T) {
	for _, tt := range []struct {
		name, slot string
		before     int // updates that were done before
	}{
		{"the first new selector", "good 1", 0},
		{"one that does not come up", "bad 1", 0},
		{"the third", "good 3", 2},
		{"a third that does not come up", "bad 3", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			start := newMachine(t)
			old := "good 0"
			for i := range tt.before {
				old = "good " + string(rune('1'+i))
				start.slot = old
				settle(t, start)
			}
			start.slot = tt.slot
			states := 0
			for boots := range 5 {
				for cut := 0; ; cut++ {
					m := start.clone()
					m.left = cut
					_, err := m.update(selector.Options{})
					for _, c := range m.cuts() {
						states++
						log := strings.Join(m.log, "\n\t")
						wantComesUp(t, c, old, tt.slot, log)
					}
					if !errors.Is(err, errCut) {
						start = m
						break
					}
				}
				start.left = -1
				if came, _ := start.boot(); came == "" {
					t.Fatalf("boot %d: nothing comes up", boots)
				}
			}
			t.Logf("%d states", states)
			if states < 20 {
				t.Errorf("%d states; want more", states)
			}
		})
	}
}

// TestUpdateSurvivesEveryError lets each operation of a whole update fail once,
// a new file in the middle: the old selector boots, or the new one, and the
// update gets to its end in later boots. One that came up, which could not be
// noted, has failed.
func TestUpdateSurvivesEveryError(t *testing.T) {
	failed := 0
	for boot := range 4 {
		for n := 1; ; n++ {
			m := newMachine(t)
			m.slot = "good 1"
			for range boot {
				if _, err := m.update(selector.Options{}); err != nil {
					t.Fatal(err)
				}
				m.boot()
			}
			m.full = n
			if _, err := m.update(selector.Options{}); err == nil {
				break
			} else if kind(err) != fault.NoRoom {
				t.Fatalf("boot %d, operation %d: %v; want an error of kind %d", boot, n, err, fault.NoRoom)
			}
			failed++
			end := "good 1"
			for range 8 {
				if came, _ := m.boot(); came != "good 0" && came != "good 1" {
					t.Fatalf("boot %d, operation %d fails: %q comes up", boot, n, came)
				}
				_, err := m.update(selector.Options{})
				if kind(err) == fault.Refused && boot == 1 {
					end = "good 0"
				} else if err != nil {
					t.Fatalf("boot %d, operation %d fails: the next update: %v", boot, n, err)
				}
			}
			wantEnd(t, m, end, strings.Join(m.log, "\n\t"))
		}
	}
	if failed < 15 {
		t.Errorf("%d operations failed; want more", failed)
	}
}

// wantComesUp boots what a cut left, then lets it go on.
func wantComesUp(t *testing.T, m *machine, old, slot, log string) {
	t.Helper()
	ordered := len(m.vars["BootNext"+global]) > 0
	// A trial that the power ended before it was confirmed has failed.
	unconfirmed := m.running() == slot && m.first() != slot
	tries := 0
	for range 9 {
		came, failed := m.boot()
		if came != old && came != slot {
			t.Fatalf("after\n\t%s\n%q comes up; want %q or %q", log, came, old, slot)
		}
		if failed > 1 || failed == 1 && !ordered {
			t.Fatalf("after\n\t%s\n%d programs fail before one comes up, a trial was ordered: %t", log, failed, ordered)
		}
		tries += failed
		_, _ = m.update(selector.Options{})
		ordered = len(m.vars["BootNext"+global]) > 0
	}
	if tries > 2 {
		t.Errorf("after\n\t%s\n%d trials failed; want two at most, and of those one because of the cut", log, tries)
	}
	want := slot
	if strings.HasPrefix(slot, "bad") || unconfirmed {
		want = old
	}
	wantEnd(t, m, want, log)
}

// wantEnd wants the machine to run a selector as its default, with the
// fallback path the same, and nothing left over.
func wantEnd(t *testing.T, m *machine, want, log string) {
	t.Helper()
	came, failed := m.boot()
	if came != want || failed != 0 || m.files[fallback] != want {
		t.Errorf("after\n\t%s\n%q comes up, fallback %q, %d fail; want %q", log, came, m.files[fallback], failed, want)
	}
	for name, content := range m.files {
		if !strings.HasPrefix(content, "good") {
			t.Errorf("after\n\t%s\n%s is left over: %q", log, name, content)
		}
	}
	if len(m.files) > 3 {
		t.Errorf("after\n\t%s\nthe ESP has %v; want two selectors and the fallback path", log, m.files)
	}
}

// settle runs updates and boots until nothing changes any more.
func settle(t *testing.T, m *machine) {
	t.Helper()
	for range 6 {
		if _, err := m.update(selector.Options{}); err != nil {
			t.Fatal(err)
		}
		m.boot()
	}
	wantEnd(t, m, m.slot, strings.Join(m.log, "\n\t"))
}
