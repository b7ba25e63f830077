package qemutests

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/testimage"
)

// TestWatchdog has a watchdog in hardware, which only the generic kernel
// knows: what hangs is reset by it, until the old system runs again and takes
// it over.
func TestWatchdog(t *testing.T) {
	for _, tt := range []struct {
		name  string
		image func(t *testing.T) string
	}{
		{"init hangs", func(t *testing.T) string { return genericGarage(t).image("hangs") }},
		{"the slot's kernel hangs", stuckKernel},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, other := fixture(t), genericGarage(t)
			depot, err := stock()
			if err != nil {
				t.Fatal(err)
			}
			d := &device{t: t, f: f, d: depot, disk: filepath.Join(t.TempDir(), "disk.img")}
			if r := hostRun(f, "image", other.image("good"), "-o", d.disk, "--layout", filepath.Join(depot.dir, "layout.toml")); r.Exit != 0 {
				t.Fatal(r.Stderr)
			}
			d.host("apply", tt.image(t))
			d.useSelector()
			d.cfg.Args = []string{"-device", "i6300esb", "-action", "watchdog=reset"}
			g := d.start("abupdate.watchdog=30")
			for b := g.waitBoot(); b.Slot != "a"; b = g.waitBoot() {
				if b.Slot != "b" || b.Version != "2.3" {
					t.Fatalf("booted %+v; want b or a", b)
				}
			}
			bitten := 0
			for _, e := range g.Events() {
				if e.Name == "qmp:WATCHDOG" {
					bitten++
				}
			}
			if bitten != bootctl.DefaultTries {
				t.Errorf("the watchdog reset the machine %d times; want once for each try, %d", bitten, bootctl.DefaultTries)
			}
			st := g.status()
			if b := st.Slots["b"]; b.State != bootctl.Bad || !strings.Contains(b.LastFailure, "not confirmed") || st.Fallback == nil {
				t.Errorf("slot b = %+v, fallback %v; want it bad, never confirmed", b, deref(st.Fallback))
			}
		})
	}
}

// TestSoftdog has no watchdog in hardware: one in software stands in.
func TestSoftdog(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	d.host("apply", d.d.image("hangs"))
	g := d.start("abupdate.watchdog=30")
	for range bootctl.DefaultTries {
		g.wantBoot("b", "2.3")
		if _, err := g.Expect(deadline(t, bootTime), regexp.MustCompile(`softdog: Initiating system reboot`)); err != nil {
			t.Fatal(err)
		}
	}
	g.wantBoot("a", "1.0")
}

// stuckKernel is an image whose kernel can be started and then stops for ever:
// what it is to unpack is no packed kernel.
func stuckKernel(t *testing.T) string {
	t.Helper()
	f, dir := fixture(t), t.TempDir()
	k := *f.kernel
	b, err := os.ReadFile(k.Image)
	if err != nil {
		t.Fatal(err)
	}
	// Documentation/arch/x86/boot.rst: setup_sects, payload_offset.
	at := (int(b[0x1f1])+1)*512 + int(binary.LittleEndian.Uint32(b[0x248:]))
	clear(b[at : at+64])
	k.Image = filepath.Join(dir, "vmlinuz")
	if err := os.WriteFile(k.Image, b, 0o644); err != nil {
		t.Fatal(err)
	}
	set, err := testimage.New(&k, f.bin)
	if err != nil {
		t.Fatal(err)
	}
	if err := set.WriteLayout(filepath.Join(dir, "images"), testimage.Variant{Tag: "stuck", Version: "2.4"}); err != nil {
		t.Fatal(err)
	}
	return "oci:" + filepath.Join(dir, "images") + ":stuck"
}
