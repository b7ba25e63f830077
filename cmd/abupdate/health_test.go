package main

import (
	"bytes"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/health"
)

// A machine that abupdate did not boot has nothing to confirm, and no flag
// that these commands have helps.
func TestHealthNeedsABootedSystem(t *testing.T) {
	for _, args := range [][]string{{"health"}, {"health", "--only"}, {"selector", "status"}, {"selector", "update"}} {
		code, out, errs := abupdate(t, args...)
		if code != 2 || out != "" || errs != "abupdate: this system was not booted by abupdate\n" {
			t.Errorf("%s = %d, %q, %q; want 2 and that this system was not booted by abupdate", args, code, out, errs)
		}
	}
}

func TestHealthText(t *testing.T) {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	printHealth(w, &updater.HealthReport{Slot: bootctl.SlotB, Version: "2", Read: true, MarkedBad: true, Next: bootctl.SlotA, Checks: []health.Result{
		{Name: "clock", Required: true, Passed: true, Seconds: 0.25},
		{Name: "net", Required: true, Reason: "exit status 1: no\x1b[2Jroute", Seconds: 30},
		{Name: "time", Reason: "timed out after 1m0s", Seconds: 60},
	}})
	w.Flush()
	want := `passed  required  clock  0.2 s   
FAILED  required  net    30.0 s  exit status 1: no\x1b[2Jroute
FAILED  wanted    time   60.0 s  timed out after 1m0s
slot b was read against its hash tree
slot b (version 2) is bad; a boots next
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}
