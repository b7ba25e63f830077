package main

import (
	"strings"
	"testing"
)

// What is refused before anything is opened: on the machine that the tests run
// on, a watchdog must stay closed.
func TestWatchdogRefuses(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "not booted by abupdate"},
		{[]string{"--timeout", "500ms"}, "--timeout is at least 1s"},
		{[]string{"--confirm-within", "-1s"}, "--confirm-within 0 or more"},
		{[]string{"now"}, "unexpected argument"},
	} {
		code, out, errs := abupdate(t, append([]string{"watchdog"}, tt.args...)...)
		if code != 2 || out != "" || !strings.Contains(errs, tt.want) {
			t.Errorf("watchdog %q = %d, %q, %q; want 2 and %q", tt.args, code, out, errs, tt.want)
		}
	}
}
