package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

var diffImages = func() map[string]ut.Image {
	one, two := map[string]string{"etc/esc\x1b[2J": "x"}, map[string]string{"etc/esc\x1b[2J": "y"}
	for i := range 30 {
		one[fmt.Sprintf("usr/share/%02d", i)] = ut.Noise(fmt.Sprint(i), 1000+i)
		two[fmt.Sprintf("usr/share/%02d", i)] = ut.Noise(fmt.Sprint("n", i), 1000+i)
		status := "Package: p%02d\nStatus: install ok installed\nInstalled-Size: %d\nVersion: %d\n\n"
		one["var/lib/dpkg/status"] += fmt.Sprintf(status, i, i, 1)
		two["var/lib/dpkg/status"] += fmt.Sprintf(status, i, 2*i, 2)
	}
	return map[string]ut.Image{"v1": {Version: "1.0", Files: one}, "v2": {Version: "2.0", Files: two}}
}()

func TestDiffText(t *testing.T) {
	dir := ut.Layout(t, diffImages)
	args := []string{"diff", "oci:" + dir + ":v1", "oci:" + dir + ":v2"}
	short, long := must(t, args...), must(t, append(args, "--files", "--packages")...)
	for _, want := range []string{
		"version ", "1.0 -> 2.0", "to fetch ", "30 upgraded", "32 with other content", "/usr/share/29", "+29.0 KiB", "p29 ",
		"... and 10 more (--packages)", "... and 12 more (--files)",
	} {
		if !strings.Contains(short, want) {
			t.Errorf("diff does not say %q:\n%s", want, short)
		}
	}
	for _, want := range []string{"/usr/share/00", "p01", `/etc/esc\x1b[2J`} {
		if !strings.Contains(long, want) || want != "/usr/share/00" && strings.Contains(short, want) {
			t.Errorf("diff says %q not only with --files and --packages:\n%s", want, long)
		}
	}
	if strings.Contains(long, "more (") || strings.Contains(long, "\x1b") {
		t.Errorf("diff with all:\n%s", long)
	}
	none := must(t, append(args, "--no-files")...)
	if strings.Contains(none, "files") || strings.Contains(none, "packages") || !strings.Contains(none, "to fetch") {
		t.Errorf("diff --no-files:\n%s", none)
	}
}

func TestDiffJSON(t *testing.T) {
	dir := ut.Layout(t, diffImages)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	must(t, "apply", "oci:"+dir+":v2", "--disk", disk)
	if text := must(t, "diff", "a", "b", "--disk", disk, "--no-files"); !strings.Contains(text, " slot a of ") || strings.Contains(text, "slot slot") {
		t.Errorf("diff of slots says:\n%s", text)
	}
	var d updater.Difference
	if err := json.Unmarshal([]byte(must(t, "diff", "a", "b", "--disk", disk, "--gap", "0", "--json")), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Files.Changes) != 32 || len(d.Packages.Changes) != 30 || d.Fetch.MissingBlocks == 0 || d.Fetch.WasteBytes != 0 || d.Old.Version != "1.0" {
		t.Errorf("diff of slots = %d files, %d packages, %+v", len(d.Files.Changes), len(d.Packages.Changes), d.Fetch)
	}
	if err := json.Unmarshal([]byte(must(t, "diff", "a", "b", "--disk", disk, "--max-ranges", "1", "--gap", "0", "--json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.Fetch.Ranges != 1 {
		t.Errorf("--max-ranges 1: %d ranges", d.Fetch.Ranges)
	}
}

func TestInspectLists(t *testing.T) {
	dir := ut.Layout(t, diffImages)
	out := must(t, "inspect", "oci:"+dir+":v1", "--files", "--packages")
	for _, want := range []string{"/usr/share/07", "p07 ", `esc\x1b[2J`, "packages ", "30 with"} {
		if !strings.Contains(out, want) {
			t.Errorf("inspect does not say %q:\n%s", want, out)
		}
	}
	raw := filepath.Join(t.TempDir(), "raw")
	must(t, "build", "oci:"+dir+":v1", "--raw", raw)
	in := object(t, must(t, "inspect", raw, "--files", "--packages", "--json"), "file_list", "packages", "package_database", "signatures", "encoder")
	if n := len(in["packages"].([]any)); n != 30 {
		t.Errorf("inspect --packages lists %d; want 30", n)
	}
	if plain := object(t, must(t, "inspect", "oci:"+dir+":v1", "--json"), "blobs", "labels"); plain["file_list"] != nil || plain["packages"] != nil {
		t.Errorf("inspect lists what nobody asked for: %v", plain)
	}
}

// What an image says of itself does not reach the terminal as it is.
func TestInspectEscapes(t *testing.T) {
	const clear = "\x1b[2J"
	dir := ut.Layout(t, map[string]ut.Image{
		"plain":   {Version: "1"},
		"hostile": {Version: "2" + clear, Labels: map[string]string{"key" + clear: "value" + clear}},
	})
	if out := must(t, "inspect", "oci:"+dir+":hostile"); strings.Contains(out, "\x1b") || !strings.Contains(out, `2\x1b[2J`) || !strings.Contains(out, `value\x1b[2J`) {
		t.Errorf("inspect says %q", out)
	}
	for _, tt := range []struct {
		code int
		args []string
	}{
		{2, []string{"build", "oci:" + dir + ":hostile", "--raw", filepath.Join(t.TempDir(), "raw")}},
		{6, []string{"diff", "oci:" + dir + ":plain", "oci:" + dir + ":hostile"}},
	} {
		code, _, errs := abupdate(t, tt.args...)
		if code != tt.code || strings.Contains(errs, "\x1b") || !strings.Contains(errs, `"2\x1b[2J" has control characters`) {
			t.Errorf("%s = %d, %q; want %d and why", tt.args[0], code, errs, tt.code)
		}
	}
}

// What an update demands of a device, and lets it keep, is shown.
func TestInspectTerms(t *testing.T) {
	dir := ut.Layout(t, map[string]ut.Image{"v1": {Version: "1.0", Files: map[string]string{
		"usr/lib/abupdate/config.d/a.toml": "etc = 'persist'\n[persist]\npaths = ['/srv', '/root']\n",
	}}})
	updates := filepath.Join(t.TempDir(), "updates")
	must(t, "build", "oci:"+dir+":v1", "-o", updates, "--compatible", "board7", "--min-version", "0.5")
	fields := strings.Fields(must(t, "inspect", "oci:"+updates))
	for _, want := range []string{"compatible board7", "minimum version 0.5", "/etc persist", "kept folders /root, /srv"} {
		if !strings.Contains(strings.Join(fields, " "), want) {
			t.Errorf("inspect says %q; want %q", fields, want)
		}
	}
}

// Wrong arguments end with one line and the right code.
func TestDiffBadInput(t *testing.T) {
	dir := testImages(t)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	ref := func(tag string) string { return "oci:" + dir + ":" + tag }
	archive := filepath.Join(t.TempDir(), "x.tar")
	f, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tar.NewWriter(f).WriteHeader(&tar.Header{Name: "oci-layout", Size: 8 << 10}), f.Truncate(10<<10), f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"diff", 2, "no OLD given"},
		{"diff " + ref("v1"), 2, "no NEW given"},
		{"diff a b c", 2, `unexpected argument "c"`},
		{"diff " + ref("v1") + " " + ref("v2") + " --gap 3Q", 2, "3Q"},
		{"diff " + ref("v1") + " " + ref("v2") + " --max-ranges -1", 2, "--max-ranges"},
		{"diff " + ref("v1") + " " + ref("v2") + " --level 99", 2, "level"},
		{"diff " + ref("v1") + " " + ref("v2") + " --disk " + disk, 2, "neither"},
		{"diff " + ref("v1") + " " + ref("v2") + " --temp /nonexistent", 2, "/nonexistent"},
		{"diff " + ref("v1") + " " + ref("v2") + " --temp " + disk, 2, "it is not a directory"},
		{"inspect " + ref("v1") + " --temp /nonexistent", 2, "/nonexistent"},
		{"inspect " + disk, 2, "is a disk: abupdate inspect a --disk " + disk},
		{"inspect " + archive, 2, "is an archive: oci-archive:" + archive},
		{"inspect " + dir, 2, "is a directory: oci:" + dir},
		{"diff " + disk + " " + ref("v2"), 2, "is a disk"},
		{"diff " + ref("v1") + " " + ref("v9"), 2, "v9"},
		{"diff oci:/nonexistent:v1 " + ref("v2"), 2, "/nonexistent"},
		{"diff a " + ref("v2"), 2, "not booted by abupdate"},
		{"diff a b --disk " + disk, 2, "empty"},
		{"diff a recovery --disk " + disk, 2, "recovery"},
		{"diff a b --disk /nonexistent", 2, "/nonexistent"},
		{"diff /etc/passwd " + ref("v2"), 4, "passwd"},
		{"diff nonsense " + ref("v2"), 2, "nonsense"},
		{"inspect " + ref("v1") + " --disk " + disk, 2, "none of a, b, recovery"},
	} {
		code, out, errs := abupdate(t, strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(errs, tt.says) || strings.Count(errs, "\n") != 1 || out != "" {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q; want %d and %q in one line", tt.args, code, out, errs, tt.code, tt.says)
		}
	}
}
