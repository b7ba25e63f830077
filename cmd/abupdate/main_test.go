package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/updater/lint"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// abupdate runs a command line like main does.
func abupdate(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = runContext(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// must runs a command line that has to succeed and returns its stdout.
func must(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := abupdate(t, args...)
	if code != 0 {
		t.Fatalf("abupdate %s = %d: %s", strings.Join(args, " "), code, errs)
	}
	return out
}

var testImages, removeImages = ut.Shared(map[string]ut.Image{
	"v1":       {Version: "1.0", Noise: 100_000},
	"v2":       {Version: "2.0", Noise: 200_000},
	"v0":       {Version: "0.5"},
	"low":      {Files: map[string]string{"etc/os-release": "VERSION_ID=0.5\n"}},
	"huge":     {Version: "2.0", Noise: 3 * int(ut.SlotSize)},
	"over":     {Version: "2.0", Noise: int(ut.SlotSize) + 1},
	"arm64":    {Version: "2.0", Arch: "arm64"},
	"nokernel": {Version: "2.0", Kernel: ut.NoKernel},
	"secret":   {Version: "2.0", Files: map[string]string{"etc/ssh/ssh_host_rsa_key": "key"}},
	"ignored":  {Version: "2.0", Files: map[string]string{lint.IgnorePath: strings.ReplaceAll(testImageLacks, ",", "\n")}},
})

// A command that may be interrupted exits with 130.
func TestInterrupted(t *testing.T) {
	dir := testImages(t)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{
		{"apply", "oci:" + dir + ":v2", "--disk", disk},
		{"build", "oci:" + dir + ":v2", "--raw", filepath.Join(t.TempDir(), "x")},
	} {
		var out, errs bytes.Buffer
		if code := runContext(ctx, args, &out, &errs); code != 130 || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s: exit code %d, stderr %q; want 130 and one line", args[0], code, errs.String())
		}
	}
	if code, _, errs := abupdate(t, "verify", "a", "--disk", disk); code != 0 {
		t.Errorf("verify afterwards = %d: %s", code, errs)
	}
}

func TestJSON(t *testing.T) {
	dir := testImages(t)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	raw := filepath.Join(t.TempDir(), "slot.img")
	manifestKeys := []string{
		"root_hash", "salt", "data_blocks", "hash_offset", "image_bytes", "version", "architecture", "kernel", "source_digest",
	}
	built := object(t, must(t, "build", "oci:"+dir+":v2", "--raw", raw, "--json"), manifestKeys...)
	for _, args := range [][]string{{"inspect", raw, "--json"}, {"inspect", "oci:" + dir + ":v2", "--json"}, {"inspect", "a", "--disk", disk, "--json"}} {
		object(t, must(t, args...), manifestKeys...)
	}
	if got := object(t, must(t, "inspect", raw, "--json")); got["root_hash"] != built["root_hash"] {
		t.Errorf("inspect says root hash %v, build %v", got["root_hash"], built["root_hash"])
	}
	applied := object(t, must(t, "apply", "oci:"+dir+":v2", "--disk", disk, "--json"), "slot", "version", "digest", "root_hash")
	if applied["slot"] != "b" || applied["root_hash"] != built["root_hash"] {
		t.Errorf("apply says %v; want slot b and root hash %v", applied, built["root_hash"])
	}
	status := object(t, must(t, "status", "--disk", disk, "--json"), "booted", "next", "fallback", "pending", "rollback", "slots")
	if status["booted"] != nil || status["next"] != "b" || status["fallback"] != nil || status["pending"] != "b" || status["rollback"] != "a" {
		t.Errorf("status says %v", status)
	}
	slots := status["slots"].(map[string]any)
	for name, state := range map[string]string{"a": "good", "b": "pending"} {
		slot := slots[name].(map[string]any)
		for _, key := range []string{"state", "version", "digest", "root_hash", "tries_left", "order"} {
			if _, ok := slot[key]; !ok {
				t.Errorf("slot %s of status has no key %q", name, key)
			}
		}
		if slot["state"] != state {
			t.Errorf("slot %s is %v; want %s", name, slot["state"], state)
		}
	}
	verified := object(t, must(t, "verify", "--disk", disk, "--json"), "slots")
	if n := len(verified["slots"].([]any)); n != 2 {
		t.Errorf("verify tells of %d slots; want 2", n)
	}
	_, _, errs := abupdate(t, "verify", "--disk", disk, "--json")
	for line := range strings.Lines(errs) {
		object(t, line, "step", "done")
	}
	if errs == "" {
		t.Error("no progress on stderr")
	}
}

// A fallback is told by the exit code, and only when that is asked for.
func TestStatusExitCode(t *testing.T) {
	disk := ut.Disk(t, "oci:"+testImages(t)+":v1")
	ut.EditState(t, disk, func(s bootctl.State) bootctl.State { s.Fallback = "b gave up"; return s })
	if code, out, _ := abupdate(t, "status", "--disk", disk); code != 0 || !strings.Contains(out, "b gave up") {
		t.Errorf("status = %d: %q; want 0 and the reason", code, out)
	}
	if code, _, errs := abupdate(t, "status", "--disk", disk, "--exit-code"); code != 10 || errs != "" {
		t.Errorf("status --exit-code = %d, stderr %q; want 10 and nothing", code, errs)
	}
}

// A whole life on a disk image file.
func TestOrders(t *testing.T) {
	dir := testImages(t)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	boot := func() { ut.EditState(t, disk, func(s bootctl.State) bootctl.State { _, s = s.Next(); return s }) }
	next := func() any { return object(t, must(t, "status", "--disk", disk, "--json"))["next"] }
	boot()
	must(t, "mark-good", "--disk", disk)
	must(t, "apply", "oci:"+dir+":v2", "--disk", disk)
	boot()
	must(t, "mark-good", "--disk", disk)
	if got := must(t, "mark-good", "--disk", disk); !strings.Contains(got, "good before") {
		t.Errorf("mark-good again says %q", got)
	}
	must(t, "rollback", "--disk", disk)
	if next() != "a" {
		t.Errorf("after rollback %v boots next; want a", next())
	}
	must(t, "rollback", "--disk", disk)
	if next() != "b" {
		t.Errorf("after a second rollback %v boots next; want b", next())
	}
	must(t, "mark-bad", "b", "--reason", "test", "--disk", disk)
	if next() != "a" {
		t.Errorf("after mark-bad %v boots next; want a", next())
	}
	must(t, "factory-reset", "--yes", "--disk", disk)
	if code, _, _ := abupdate(t, "factory-reset", "--yes", "--disk", disk); code != 77 {
		t.Errorf("factory-reset again = %d; want 77", code)
	}
	if got := object(t, must(t, "status", "--disk", disk, "--json"))["reset"]; got != "requested" {
		t.Errorf("status says reset %v; want requested", got)
	}
}

func TestPushAndApplyFromARegistry(t *testing.T) {
	dir := testImages(t)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer s.Close()
	ref := strings.TrimPrefix(s.URL, "http://") + "/os:2"
	built := object(t, must(t, "build", "oci:"+dir+":v2", "--push", ref, "--json"), "digest", "pushed")
	applied := object(t, must(t, "apply", ref, "--disk", disk, "--json"))
	if applied["digest"] != built["digest"] || applied["update"] != true {
		t.Errorf("apply says %v; want the update %v", applied, built["digest"])
	}
}

// docs/cli.md is what the commands say.
func TestDocsAreUpToDate(t *testing.T) {
	want := must(t, "docs")
	got, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/cli.md is out of date: go run ./cmd/abupdate docs > docs/cli.md")
	}
}

func TestManPagesAndCompletions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man")
	must(t, "man", dir)
	for _, name := range []string{"abupdate.8", "abupdate-apply.8", "abupdate-status.8"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Contains(b, []byte(".SH SYNOPSIS")) {
			t.Errorf("%s: %v, %d bytes; want a man page", name, err, len(b))
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out := must(t, "completion", shell); !strings.Contains(out, "abupdate") {
			t.Errorf("completion %s prints %q", shell, out)
		}
	}
}

// object decodes one JSON object and makes sure that it has the keys.
func object(t *testing.T, s string, keys ...string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	for _, key := range keys {
		if _, ok := v[key]; !ok {
			t.Errorf("no key %q in %s", key, s)
		}
	}
	return v
}
