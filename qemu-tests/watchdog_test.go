package qemutests

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/testimage"
)

// What the watchdog tests have on the command line: abinit's pings end the grace
// after the image's init runs.
const (
	dogTime, dogGrace = 20, 15
	dogWords          = "abupdate.watchdog=20 abupdate.watchdog_grace=15"
)

// bridgeEnds is what is said when nobody took the watchdog over in time.
var bridgeEnds = regexp.MustCompile(`the watchdog resets the machine in at most 20s: no owner within 15s`)

// TestWatchdog has a watchdog in hardware, which only the generic kernel
// knows: what hangs is reset by it, until the old system runs again, takes it
// over and lives on.
func TestWatchdog(t *testing.T) {
	for _, tt := range []struct {
		name  string
		image func(t *testing.T) string
		// boots is how often init runs, and bridges how often nobody took the
		// watchdog over then.
		boots, bridges int
	}{
		{"init hangs, before and after it takes over", func(t *testing.T) string {
			same := map[string]string{kargsFile: goodKargs} // as the selector has: no change of kernels
			return watchdogImage(t, genericGarage(t).kernel, testimage.Variant{Tag: "dogged", Version: "2.3", Mode: "dogged", Files: same})
		}, bootctl.DefaultTries, 2},
		{"the slot's kernel hangs", stuckKernel, 0, 0},
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
			g := d.start(dogWords)
			for range tt.boots {
				g.wantBoot("b", "2.3")
			}
			g.wantBoot("a", "2.0")
			if n := g.bitten(); n != bootctl.DefaultTries {
				t.Errorf("the watchdog reset the machine %d times; want once for each try, %d", n, bootctl.DefaultTries)
			}
			if n := len(bridgeEnds.FindAllString(g.Console(), -1)); n != tt.bridges {
				t.Errorf("that nobody took the watchdog over was said %d times; want %d", n, tt.bridges)
			}
			g.wantUnconfirmed()
			g.livesOn()
		})
	}
}

// TestSoftdog has no watchdog in hardware: one in software stands in. The first
// boot of a device makes /var with the image's mkfs, which hangs abinit here.
func TestSoftdog(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	guest, err := os.ReadFile(d.f.bin.Guest)
	if err != nil {
		t.Fatal(err)
	}
	d.host("apply", watchdogImage(t, d.f.kernel, testimage.Variant{Tag: "frozen", Version: "2.3", Files: map[string]string{"/usr/sbin/mkfs.ext4": string(guest)}}))
	g := d.start(dogWords)
	for range bootctl.DefaultTries {
		if _, err := g.Expect(deadline(t, bootTime), regexp.MustCompile(`softdog: Initiating system reboot`)); err != nil {
			t.Fatal(err)
		}
	}
	g.wantBoot("a", "1.0")
	if strings.Contains(g.Console(), "no owner") {
		t.Error("a bridge was there; want abinit itself to hang")
	}
	g.wantUnconfirmed()
}

// TestWatchdogCommand has an image whose init leaves the watchdog to abupdate:
// a new system is reset when it is not confirmed in time, and lives on when it
// is.
func TestWatchdogCommand(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	d.host("apply", watchdogImage(t, d.f.kernel, testimage.Variant{Tag: "nodog", Version: "2.3", Mode: "nodog"}))
	g := d.start(dogWords)
	g.wantBoot("b", "2.3")
	if r := g.try("abupdate", "watchdog", "--confirm-within", "1ms"); r.Exit != 1 || !strings.Contains(r.Stderr, "slot b is on trial and was not confirmed within 1ms") {
		t.Fatalf("abupdate watchdog of a system that is late = %d, %q; want 1, and why", r.Exit, r.Stderr)
	}
	g.wantBoot("b", "2.3")
	if b := g.status().Slots["b"]; b.TriesLeft != bootctl.DefaultTries-2 {
		t.Errorf("slot b = %+v; want two tries taken off", b)
	}
	g.run("abupdate", "mark-good")
	if err := g.Begin("abupdate", "watchdog", "--confirm-within", "1ms"); err != nil {
		t.Fatal(err)
	}
	g.livesOn()
	if r := g.try("abupdate", "watchdog"); r.Exit != 77 {
		t.Errorf("a second abupdate watchdog = %d, %q; want 77, somebody else has it", r.Exit, r.Stderr)
	}
}

// watchdogImage makes one image.
func watchdogImage(t *testing.T, k *testimage.Kernel, v testimage.Variant) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "images")
	set, err := testimage.New(k, fixture(t).bin)
	if err != nil {
		t.Fatal(err)
	}
	if err := set.WriteLayout(dir, v); err != nil {
		t.Fatal(err)
	}
	return "oci:" + dir + ":" + v.Tag
}

// bitten is how often the watchdog in hardware reset the machine.
func (g *guest) bitten() (n int) {
	for _, e := range g.Events() {
		if e.Name == "qmp:WATCHDOG" {
			n++
		}
	}
	return n
}

func (g *guest) wantUnconfirmed() {
	g.t.Helper()
	st := g.status()
	if b := st.Slots["b"]; b.State != bootctl.Bad || !strings.Contains(b.LastFailure, "not confirmed") || st.Fallback == nil {
		g.t.Errorf("slot b = %+v, fallback %v; want it bad, never confirmed", b, deref(st.Fallback))
	}
}

// livesOn waits until the watchdog would have reset the machine, had nobody
// taken it over.
func (g *guest) livesOn() {
	g.t.Helper()
	resets := g.resets()
	uptime := func() (up float64) {
		if _, err := fmt.Sscan(g.run("guest", "cat", "/proc/uptime"), &up); err != nil {
			g.t.Fatal(err)
		}
		return up
	}
	for start := uptime(); uptime() < start+dogGrace+dogTime+5; time.Sleep(time.Second) {
	}
	if n := g.resets(); n != resets {
		g.t.Errorf("the machine was reset %d times after the watchdog was taken over; want none", n-resets)
	}
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
