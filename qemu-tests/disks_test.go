package qemutests

import (
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/internal/vm"
)

// TestOtherDisk attaches a second abupdate disk, with the same labels, before
// the device's own. It is neither booted nor changed.
func TestOtherDisk(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	other := filepath.Join(t.TempDir(), "other.img")
	if r := hostRun(d.f, "image", d.d.image("v3"), "-o", other, "--layout", filepath.Join(d.d.dir, "layout.toml")); r.Exit != 0 {
		t.Fatal(r.Stderr)
	}
	before := sum(t, other)
	d.cfg.Disks = append([]vm.Disk{{Path: other}}, d.cfg.Disks...)
	g := d.start()
	g.wantBoot("a", "1.0")
	g.run("abupdate", "mark-good")
	g.applyUpdate("v2", "--insecure")
	g.reboot()
	g.wantBoot("b", "2.0")
	g.run("abupdate", "mark-good")
	g.run("abupdate", "factory-reset", "--yes")
	g.reboot()
	g.wantBoot("b", "2.0")
	g.Kill()
	if sum(t, other) != before {
		t.Error("the other disk was written to")
	}
}

// TestUEFI boots the disk as firmware does.
func TestUEFI(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	d.host("apply", d.d.image("v2"))
	d.cfg = vm.Config{Disks: d.cfg.Disks, Vars: filepath.Join(t.TempDir(), "vars.fd")}
	g := start(t, d.cfg)
	b := g.wantBoot("b", "2.0")
	t.Logf("init runs %.1f s after the kernel's start", b.Uptime)
	g.run("abupdate", "mark-good")
	if st := g.status(); st.Slots["b"].State != "good" {
		t.Errorf("slot b = %+v; want good", st.Slots["b"])
	}
}

func sum(t *testing.T, file string) [32]byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}
