package main

import (
	"os"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/updater/lint"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// What a test image of this package lacks: it has a kernel and nothing else.
const testImageLacks = "no-init,no-mkfs,no-abupdate,kernel-config-unknown"

func TestLint(t *testing.T) {
	dir := testImages(t)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	for _, tt := range []struct {
		args string
		code int
		out  string
		errs string
	}{
		{"v1", 1, "error: no-init: no init\n", "linting: 3 errors"},
		{"v1 --ignore " + testImageLacks, 0, "0 errors, 0 warnings, 0 notes", ""},
		{"nokernel --ignore no-init,no-mkfs,no-abupdate", 1, "error: no-kernel", "linting: 1 error"},
		{"secret --ignore " + testImageLacks, 0, "- /etc/ssh/ssh_host_rsa_key\n", ""},
		{"secret --strict --ignore " + testImageLacks, 1, "0 errors, 1 warning, 0 notes", "linting: 1 warning"},
		{"ignored", 0, "0 errors, 0 warnings, 0 notes (4 ignored)", ""},
		{"v1 --slot-size 64M --ignore " + testImageLacks, 0, "0 errors, 0 warnings, 0 notes", ""},
		{"huge --ignore " + testImageLacks + " --slot-size 1M", 1, "slot-too-small", "linting: 1 error"},
		{"over --ignore " + testImageLacks + " --disk " + disk, 0, "slot-unknown", ""},
		{"over --exact --ignore " + testImageLacks + " --disk " + disk, 1, "slot-too-small", "linting: 1 error"},
		{"nokernel --exact --slot-size 64M --ignore no-init,no-mkfs,no-abupdate", 1, "error: no-kernel", "linting: 1 error"},
		{"v2 --exact --ignore " + testImageLacks + " --disk " + disk, 0, "0 errors, 0 warnings, 0 notes", ""},
	} {
		t.Run(tt.args, func(t *testing.T) {
			code, out, errs := abupdate(t, append([]string{"lint", "-q"}, strings.Fields("oci:"+dir+":"+tt.args)...)...)
			if code != tt.code || !strings.Contains(out, tt.out) {
				t.Errorf("exit code %d, stdout %q; want %d and %q", code, out, tt.code, tt.out)
			}
			if !strings.Contains(errs, tt.errs) || (tt.errs == "") != (errs == "") {
				t.Errorf("stderr is %q; want %q", errs, tt.errs)
			}
		})
	}
}

func TestLintJSON(t *testing.T) {
	code, out, _ := abupdate(t, "lint", "oci:"+testImages(t)+":v1", "--json")
	report := object(t, out, "findings", "errors", "warnings", "notes", "ignored")
	if code != 1 || report["errors"] != 3.0 {
		t.Errorf("exit code %d, %v errors; want 1 and 3", code, report["errors"])
	}
	first := report["findings"].([]any)[0].(map[string]any)
	for _, key := range []string{"name", "severity", "path", "detail", "reason", "mend"} {
		if s, _ := first[key].(string); s == "" {
			t.Errorf("the first finding has no %s: %v", key, first)
		}
	}
	if first["severity"] != "error" {
		t.Errorf("the first finding is of severity %v; want error", first["severity"])
	}
}

func TestLintList(t *testing.T) {
	out := must(t, "lint", "--list")
	rules := object(t, must(t, "lint", "--list", "--json"), "rules")["rules"].([]any)
	if len(rules) != len(lint.Rules()) {
		t.Errorf("--list --json has %d rules; want %d", len(rules), len(lint.Rules()))
	}
	for _, r := range lint.Rules() {
		if !strings.Contains(out, " "+r.Name+" ") {
			t.Errorf("--list does not name %s", r.Name)
		}
	}
}

// docs/lint.md says what the rules say.
func TestLintDocsAreUpToDate(t *testing.T) {
	want := must(t, "docs", "lint")
	got, err := os.ReadFile("../../docs/lint.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/lint.md is out of date: go run ./cmd/abupdate docs lint > docs/lint.md")
	}
}
