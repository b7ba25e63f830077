package qemutests

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/testimage"
	"github.com/abupdate/abupdate/internal/vm"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/selector"
)

// selectorFile is where a slot brings the selector.
const selectorFile = updater.SelectorDir + "/BOOTX64.EFI"

// TestSelectorUpdate boots UEFI firmware that keeps its variables: a selector
// that is no program costs one try, and the old one goes on; a good one is tried
// once, then it is the default, then what the fallback path holds; one that does
// not fit is not written. What the ESP is given meanwhile is logged, and cut.
func TestSelectorUpdate(t *testing.T) {
	t.Run("broken, then good", testSelectorTrials)
	t.Run("full ESP", func(t *testing.T) {
		d := selectorDevice(t, "40M", map[string]string{selectorFile: noise(1, 100_000)})
		d.fillESP()
		g := start(t, d.cfg)
		g.wantBoot("a", "1.0")
		if r := g.wantSelector(selector.Due, updater.LoaderPath("amd64")); !strings.Contains(r.Problem, "0 bytes free") {
			t.Errorf("selector status says %q; want that the ESP is full", r.Problem)
		}
		if r := g.try("abupdate", "mark-good"); r.Exit != 0 || !strings.Contains(r.Stderr, "0 bytes free") {
			t.Errorf("mark-good: %+v; want the slot confirmed, and told of the ESP", r)
		}
		before := d.espFiles()
		if r := g.try("abupdate", "selector", "update"); r.Exit != int(fault.NoRoom) {
			t.Errorf("selector update: %+v; want exit code %d", r, fault.NoRoom)
		}
		g.Kill()
		if diff := cmp.Diff(before, d.espFiles()); diff != "" {
			t.Errorf("the ESP changed: %s", diff)
		}
	})
}

// wantRefused wants an old selector that has been told that the new one did
// not come up, and does not try it again.
func (g *guest) wantRefused(path string) {
	g.t.Helper()
	if r := g.wantSelector(selector.Failed, path); !strings.Contains(r.Problem, "did not come up") {
		g.t.Errorf("selector status says %q; want that it did not come up", r.Problem)
	}
	if r := g.try("abupdate", "mark-good"); r.Exit != 0 || !strings.Contains(r.Stderr, "did not come up") {
		g.t.Errorf("mark-good: %+v; want the slot confirmed, and told of the selector", r)
	}
	if r := g.try("abupdate", "selector", "update"); r.Exit != int(fault.Refused) {
		g.t.Errorf("selector update: %+v; want exit code %d", r, fault.Refused)
	}
}

// wantNewSelector wants the one that newSelector made with newer=1.
func (g *guest) wantNewSelector() {
	g.t.Helper()
	r := g.wantSelector(selector.Current, selector.Dir+"/selector-")
	if r.Digest != r.SlotDigest {
		g.t.Errorf("selector %s was started; want the slot's, %s", r.Digest, r.SlotDigest)
	}
	if line := g.run("guest", "cat", "/proc/cmdline"); !strings.Contains(line, "newer=1") {
		g.t.Errorf("command line %q; want that of the new selector", line)
	}
}

// wantSelector wants what selector status says, and that status agrees.
func (g *guest) wantSelector(state selector.State, file string) updater.SelectorReport {
	g.t.Helper()
	var r updater.SelectorReport
	out := g.run("abupdate", "selector", "status", "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		g.t.Fatalf("selector status: %v\n%s", err, out)
	}
	if r.State != state || !strings.HasPrefix(r.File, file) {
		g.t.Fatalf("selector status: %s; want state %s and file %s", out, state, file)
	}
	if sel := g.status().Selector; sel == nil || sel.Due != (state != selector.Current) || sel.Version != "1.0" {
		g.t.Errorf("selector in status: %+v; want version 1.0, and that it is due unless it is the slot's", sel)
	}
	return r
}

// fillESP takes all that is free on the ESP.
func (d *device) fillESP() {
	d.t.Helper()
	part, f := d.readESP()
	room, err := f.Room()
	if err != nil {
		d.t.Fatal(err)
	}
	filler := filepath.Join(d.t.TempDir(), "filler")
	if err := os.WriteFile(filler, make([]byte, room.Free), 0o644); err != nil {
		d.t.Fatal(err)
	}
	if out, err := exec.Command("mcopy", "-i", fmt.Sprintf("%s@@%d", d.disk, part.Off), filler, "::filler").CombinedOutput(); err != nil {
		d.t.Fatalf("mcopy (Debian package mtools): %v\n%s", err, out)
	}
	_, f = d.readESP()
	if room, err = f.Room(); err != nil || room.Free != 0 {
		d.t.Fatalf("the ESP has %d bytes free, %v; want it full", room.Free, err)
	}
}

// espFiles are the files of the ESP with their content's digests.
func (d *device) espFiles() map[string]string {
	d.t.Helper()
	_, f := d.readESP()
	files := make(map[string]string)
	for _, file := range f.Files {
		if file.Dir {
			continue
		}
		b, err := f.Content(file.Name)
		if err != nil {
			d.t.Fatal(err)
		}
		files[file.Name] = hexSum(string(b))
	}
	return files
}

func hexSum(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

// newSelector makes a selector that puts a word on the command line.
func newSelector(t *testing.T, word string, args ...string) string {
	t.Helper()
	f, dir := fixture(t), t.TempDir()
	if err := f.set.WriteLayout(dir, testimage.Variant{Tag: "plain", Version: "1.0"}); err != nil {
		t.Fatal(err)
	}
	uki := filepath.Join(dir, "new.efi")
	args = append([]string{"initramfs", "oci:" + dir + ":plain", "--uki", uki, "--append", "console=ttyS0 panic=5 abupdate.menu=0 " + word}, args...)
	if r := hostRun(f, args...); r.Exit != 0 {
		t.Fatalf("abupdate %q: %s", args, r.Stderr)
	}
	b, err := os.ReadFile(uki)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// selectorDevice is a device whose slot has these files.
func selectorDevice(t *testing.T, esp string, files map[string]string, args ...string) *device {
	t.Helper()
	f, dir := fixture(t), t.TempDir()
	full := testimage.Variant{Tag: "full", Version: "1.0", Files: files}
	if err := f.set.WriteLayout(filepath.Join(dir, "images"), full); err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(dir, "layout.toml")
	if err := os.WriteFile(layout, []byte(strings.ReplaceAll(layoutFile, `esp = "64M"`, `esp = "`+esp+`"`)), 0o644); err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, f: f, disk: filepath.Join(dir, "disk.img")}
	args = append([]string{"image", "oci:" + filepath.Join(dir, "images") + ":full", "-o", d.disk, "--layout", layout, "--append", "abupdate.menu=0"}, args...)
	if r := hostRun(f, args...); r.Exit != 0 {
		t.Fatalf("abupdate %q: %s", args, r.Stderr)
	}
	d.cfg = vm.Config{MemoryMiB: 512, Disks: []vm.Disk{{Path: d.disk, NoBootIndex: true}}}
	return d
}
