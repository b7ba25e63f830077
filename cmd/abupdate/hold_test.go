package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// An update in two steps, taken back, and brought again.
func TestApplyInTwoSteps(t *testing.T) {
	dir := testImages(t)
	disk, ref := ut.Disk(t, "oci:"+dir+":v1"), "oci:"+dir+":v2"
	status := func() map[string]any {
		return object(t, must(t, "status", "--disk", disk, "--json"), "held", "pending", "next")
	}
	if out := must(t, "apply", ref, "--stage-only", "--disk", disk); !strings.Contains(out, "is in slot b and held") {
		t.Errorf("apply --stage-only says %q", out)
	}
	if st := status(); st["held"] != "b" || st["pending"] != nil || st["next"] != "a" {
		t.Errorf("status after --stage-only is %v; want b held, a next", st)
	}
	if out := must(t, "apply", "--switch", "--disk", disk); !strings.Contains(out, "staged for the next boot") {
		t.Errorf("apply --switch says %q", out)
	}
	if st := status(); st["held"] != nil || st["pending"] != "b" || st["next"] != "b" {
		t.Errorf("status after --switch is %v; want b pending and next", st)
	}
	if out := must(t, "apply", "--cancel", "--disk", disk); !strings.Contains(out, "version 2.0 in slot b is taken back; slot a boots next") {
		t.Errorf("apply --cancel says %q", out)
	}
	if st := status(); st["held"] != nil || st["pending"] != nil || st["next"] != "a" {
		t.Errorf("status after --cancel is %v; want a next", st)
	}
	for _, args := range [][]string{{"--cancel"}, {"--switch"}} {
		if code, _, errs := abupdate(t, "apply", args[0], "--disk", disk); code != 77 || !strings.Contains(errs, "nothing to") {
			t.Errorf("apply %s of nothing = %d, %q; want 77", args[0], code, errs)
		}
	}
	must(t, "apply", ref, "--disk", disk)
	if st := status(); st["next"] != "b" {
		t.Errorf("status after apply is %v; want b next", st)
	}
}

func TestApplyFlagsThatContradict(t *testing.T) {
	for _, args := range [][]string{
		{"--stage-only", "--switch"},
		{"--stage-only", "--cancel"},
		{"--switch", "--cancel"},
		{"--switch", "oci:x"},
		{"--cancel", "oci:x"},
		{"--cancel", "--dry-run"},
		{"--switch", "--dry-run"},
		{"--cancel", "--reboot"},
		{"--stage-only", "--reboot"},
	} {
		if code, _, errs := abupdate(t, append([]string{"apply"}, args...)...); code != 2 {
			t.Errorf("apply %s = %d, %q; want 2", strings.Join(args, " "), code, errs)
		}
	}
}

func TestVersionFloorIsShown(t *testing.T) {
	dir := testImages(t)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	ut.EditState(t, disk, withFloor("1.7"))
	if out := must(t, "status", "--disk", disk); !strings.Contains(out, "floor") || !strings.Contains(out, "1.7") {
		t.Errorf("status does not tell of the floor:\n%s", out)
	}
	code, _, errs := abupdate(t, "apply", "oci:"+dir+":v1", "--allow-same", "--disk", disk)
	if code != 6 || !strings.Contains(errs, "--allow-downgrade") {
		t.Errorf("apply of a version below the floor = %d, %q; want 6 and the flag that takes it", code, errs)
	}
	must(t, "apply", "oci:"+dir+":v1", "--allow-same", "--allow-downgrade", "--disk", disk)
}

func withFloor(version string) func(bootctl.State) bootctl.State {
	return func(s bootctl.State) bootctl.State {
		s.Floor = version
		return s
	}
}

// TestResultIsNotPrinted tells of what is done and cannot be told: it is no
// failure of it, whatever stdout is.
func TestResultIsNotPrinted(t *testing.T) {
	dir := testImages(t)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"apply", "oci:" + dir + ":v2", "--dry-run"}, "version 2.0 could be applied; printing the result: write /dev/full"},
		{[]string{"apply", "oci:" + dir + ":v2", "--stage-only"}, "version 2.0 is held in slot b; printing the result: write /dev/full"},
		{[]string{"apply", "--switch", "--json"}, "version 2.0 is staged in slot b; printing the result: write /dev/full"},
		{[]string{"status"}, "printing the result: write /dev/full"},
	} {
		var errs bytes.Buffer
		code := runContext(t.Context(), append(tt.args, "--disk", disk, "-q"), full, &errs)
		if code != 1 || !strings.HasPrefix(errs.String(), "abupdate: "+tt.want) || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%q exits with %d: %s; want 1 and %q", tt.args, code, errs.String(), tt.want)
		}
	}
	if st := object(t, must(t, "status", "--disk", disk, "--json")); st["pending"] != "b" {
		t.Errorf("status says pending %v; want b", st["pending"])
	}
}
