package qemutests

import (
	"regexp"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
)

// TestFallback applies systems that do not come up: each is tried three times,
// then the old one runs again and says why.
func TestFallback(t *testing.T) {
	tests := []struct {
		name, tag, version string
		// onBoot is what the test does after each boot of the new system.
		onBoot func(g *guest)
		// events says whether the new system gets so far as to say hello.
		silent bool
		reason string
	}{
		{"B panics", "panics", "2.1", nil, false, "not confirmed"},
		{"B's init exits", "exits", "2.2", nil, false, "not confirmed"},
		{"B hangs", "hangs", "2.3", hangThenReset, false, "not confirmed"},
		{"B never confirms", "v2", "2.0", (*guest).reboot, false, "not confirmed"},
		{"B has no init", "noinit", "2.4", nil, true, "init"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDevice(t)
			d.host("apply", d.d.image(tt.tag))
			g := d.start()
			if !tt.silent {
				for range 3 {
					g.wantBoot("b", tt.version)
					if tt.onBoot != nil {
						tt.onBoot(g)
					}
				}
			}
			g.wantBoot("a", "1.0")
			st := g.status()
			if st.Fallback == nil || !strings.Contains(*st.Fallback, tt.reason) {
				t.Errorf("fallback in status = %v; want a reason with %q", deref(st.Fallback), tt.reason)
			}
			b := st.Slots["b"]
			if b.State != bootctl.Bad || b.TriesLeft != 0 || !strings.Contains(b.LastFailure, tt.reason) {
				t.Errorf("slot b = %+v; want bad, no tries left, %q", b, tt.reason)
			}
			if a := st.Slots["a"]; a.State != bootctl.Good {
				t.Errorf("slot a = %+v; want good", a)
			}
			if r := g.try("abupdate", "status", "--exit-code"); r.Exit != 10 {
				t.Errorf("status --exit-code exited with %d; want 10", r.Exit)
			}
		})
	}
}

// hangThenReset waits until nothing happens any more and presses reset.
func hangThenReset(g *guest) {
	g.t.Helper()
	if _, err := g.Expect(deadline(g.t, bootTime), regexp.MustCompile(`guest: doing hang`)); err != nil {
		g.t.Fatal(err)
	}
	if err := g.Reset(deadline(g.t, bootTime)); err != nil {
		g.t.Fatal(err)
	}
}

func deref(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}
