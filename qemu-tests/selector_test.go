package qemutests

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/testimage"
	"github.com/abupdate/abupdate/internal/vm"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/selector"
)

// selectorFile is where a slot brings the selector.
const selectorFile = updater.SelectorDir + "/BOOTX64.EFI"

// TestSelectorUpdate boots UEFI firmware that keeps its variables: a new
// selector is tried once, then it is the default; one that is no program costs
// one try, and the old one goes on; one that does not fit is not written.
func TestSelectorUpdate(t *testing.T) {
	t.Run("good", func(t *testing.T) {
		d := selectorDevice(t, "128M", func(f *fixtures, dir string) []byte {
			uki := filepath.Join(dir, "new.efi")
			args := []string{"initramfs", "oci:" + filepath.Join(dir, "images") + ":plain", "--uki", uki, "--append", "console=ttyS0 panic=5 abupdate.menu=0 newer=1"}
			if r := hostRun(f, args...); r.Exit != 0 {
				t.Fatalf("abupdate %q: %s", args, r.Stderr)
			}
			b, err := os.ReadFile(uki)
			if err != nil {
				t.Fatal(err)
			}
			return b
		})
		g := start(t, d.cfg)
		g.wantSelector(selector.Due, updater.LoaderPath("amd64"))
		g.run("abupdate", "mark-good")
		for range 2 { // tried, then the default
			g.reboot()
			r := g.wantSelector(selector.Current, selector.Dir+"/selector-")
			if r.Digest != r.SlotDigest {
				t.Errorf("selector %s was started; want the slot's, %s", r.Digest, r.SlotDigest)
			}
			if line := g.run("guest", "cat", "/proc/cmdline"); !strings.Contains(line, "newer=1") {
				t.Errorf("command line %q; want that of the new selector", line)
			}
			g.run("abupdate", "mark-good")
		}
	})
	t.Run("broken", func(t *testing.T) {
		d := selectorDevice(t, "128M", func(*fixtures, string) []byte { return []byte(strings.Repeat("no EFI program\n", 1000)) })
		g := start(t, d.cfg)
		g.wantSelector(selector.Due, updater.LoaderPath("amd64"))
		if r := g.try("abupdate", "mark-good"); r.Exit != 0 || r.Stderr != "" {
			t.Fatalf("mark-good: %+v; want the selector ordered", r)
		}
		g.reboot()
		r := g.wantSelector(selector.Failed, updater.LoaderPath("amd64"))
		if !strings.Contains(r.Problem, "did not come up") {
			t.Errorf("selector status says %q; want that it did not come up", r.Problem)
		}
		if r := g.try("abupdate", "mark-good"); r.Exit != 0 || !strings.Contains(r.Stderr, "did not come up") {
			t.Errorf("mark-good: %+v; want the slot confirmed, and told of the selector", r)
		}
	})
	t.Run("full ESP", func(t *testing.T) {
		d := selectorDevice(t, "40M", func(*fixtures, string) []byte {
			b := make([]byte, 36<<20)
			rand.NewChaCha8([32]byte{}).Read(b)
			return b
		})
		g := start(t, d.cfg)
		r := g.wantSelector(selector.Due, updater.LoaderPath("amd64"))
		if !strings.Contains(r.Problem, "bytes free") {
			t.Errorf("selector status says %q; want that the ESP is too full", r.Problem)
		}
		if r := g.try("abupdate", "mark-good"); r.Exit != 0 || !strings.Contains(r.Stderr, "bytes free") {
			t.Errorf("mark-good: %+v; want the slot confirmed, and told of the ESP", r)
		}
		if r := g.try("abupdate", "selector", "update"); r.Exit != int(fault.NoRoom) {
			t.Errorf("selector update: %+v; want exit code %d", r, fault.NoRoom)
		}
		g.reboot()
		g.wantSelector(selector.Due, updater.LoaderPath("amd64"))
	})
}

// wantSelector waits for a boot of slot A, and wants what selector status
// says there.
func (g *guest) wantSelector(state selector.State, file string) updater.SelectorReport {
	g.t.Helper()
	g.wantBoot("a", "1.0")
	var r updater.SelectorReport
	out := g.run("abupdate", "selector", "status", "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		g.t.Fatalf("selector status: %v\n%s", err, out)
	}
	if r.State != state || !strings.HasPrefix(r.File, file) {
		g.t.Fatalf("selector status: %s; want state %s and file %s", out, state, file)
	}
	return r
}

// selectorDevice is a device whose slot brings the selector that newer makes.
func selectorDevice(t *testing.T, esp string, newer func(f *fixtures, dir string) []byte) *device {
	t.Helper()
	f, dir := fixture(t), t.TempDir()
	plain := testimage.Variant{Tag: "plain", Version: "1.0"}
	if err := f.set.WriteLayout(filepath.Join(dir, "images"), plain); err != nil {
		t.Fatal(err)
	}
	full := testimage.Variant{Tag: "full", Version: "1.0", Files: map[string]string{selectorFile: string(newer(f, dir))}}
	if err := f.set.WriteLayout(filepath.Join(dir, "images"), plain, full); err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(dir, "layout.toml")
	if err := os.WriteFile(layout, []byte(strings.ReplaceAll(layoutFile, `esp = "64M"`, `esp = "`+esp+`"`)), 0o644); err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, f: f, disk: filepath.Join(dir, "disk.img")}
	args := []string{"image", "oci:" + filepath.Join(dir, "images") + ":full", "-o", d.disk, "--layout", layout, "--append", "abupdate.menu=0"}
	if r := hostRun(f, args...); r.Exit != 0 {
		t.Fatalf("abupdate %q: %s", args, r.Stderr)
	}
	d.cfg = vm.Config{MemoryMiB: 512, Disks: []vm.Disk{{Path: d.disk, NoBootIndex: true}}}
	return d
}
