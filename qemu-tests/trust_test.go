package qemutests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/bootctl"
)

// A vendor signs for devices whose initramfs knows the first of its keys.
type vendor struct {
	*device
	dir string
}

// newVendor makes a device with v1, signed, whose initramfs starts only what
// the key "vendor" has signed.
func newVendor(t *testing.T) *vendor {
	t.Helper()
	f := fixture(t)
	depot, err := stock()
	if err != nil {
		t.Fatal(err)
	}
	v := &vendor{&device{t: t, f: f, d: depot, disk: filepath.Join(t.TempDir(), "disk.img")}, t.TempDir()}
	for _, name := range []string{"vendor", "next", "stranger"} {
		v.host0("key", "generate", "-o", v.file(name))
	}
	v.host0("image", depot.image("v1"), "-o", v.disk, "--layout", filepath.Join(depot.dir, "layout.toml"),
		"--trust", v.file("vendor.pub"), "--sign-key", v.file("vendor.key"))
	v.useSelector()
	return v
}

func (v *vendor) file(name string) string { return filepath.Join(v.dir, name) }

// host0 runs the host's abupdate without --disk.
func (v *vendor) host0(args ...string) {
	v.t.Helper()
	if r := hostRun(v.f, args...); r.Exit != 0 {
		v.t.Fatalf("abupdate %q exited with %d\n%s%s", args, r.Exit, r.Stdout, r.Stderr)
	}
}

// update builds an image for a tag of its own and signs the update.
func (v *vendor) update(tag string, keys ...string) string {
	v.t.Helper()
	dir := v.file("updates-" + strings.Join(append(keys, tag), "-"))
	args := []string{"build", v.d.image(tag), "-o", dir, "--tag", tag}
	for _, k := range keys {
		args = append(args, "--sign-key", v.file(k+".key"))
	}
	v.host0(args...)
	return "oci:" + dir + ":" + tag
}

// stop ends the guest.
func (v *vendor) stop(g *guest) {
	v.t.Helper()
	if err := g.Quit(deadline(v.t, bootTime)); err != nil {
		v.t.Fatal(err)
	}
}

// lastYear is one of the last that QEMU's clock can tell.
const lastYear = 2085

// startIn boots the device with a clock that says that it is the first day of a
// year.
func (v *vendor) startIn(year int) *guest {
	v.t.Helper()
	cfg := v.cfg
	cfg.Args = append(slices.Clip(cfg.Args), "-rtc", fmt.Sprintf("base=%d-01-01T00:00:00", year))
	return start(v.t, cfg)
}

// wantYear makes sure that the kernel took the clock's word.
func (g *guest) wantYear(year int) {
	g.t.Helper()
	_, after, _ := strings.Cut(g.run("guest", "cat", "/proc/stat"), "btime ")
	var seconds int64
	if _, err := fmt.Sscan(after, &seconds); err != nil {
		g.t.Fatalf("/proc/stat says %q after btime", after)
	}
	if began := time.Unix(seconds, 0).UTC().Add(time.Second); began.Year() != year { // it was rounded
		g.t.Errorf("the guest believes that it started at %v; want %d", began, year)
	}
}

// TestTrust gives a device with a key in its initramfs what nobody signed and
// what somebody else signed: both are tried, neither starts, and the old system
// says why. Then the key is replaced, by a list that the old one signed. What
// the clock says of all that does not matter: signatures are found good, at
// boot and by apply, and wrong, in 1970 and at the end of the century.
func TestTrust(t *testing.T) {
	t.Parallel()
	v := newVendor(t)
	v.host0("build", v.d.image("v2"), "--push", v.d.registry+"/trust:v2", "--sign-key", v.file("vendor.key"))
	public, err := os.ReadFile(v.file("vendor.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, ref, reason string
		year              int
	}{
		{"unsigned", v.update("v2"), "it is unsigned", 1970},
		{"signed by another key", v.update("v3", "stranger"), "no valid signature by any of", lastYear},
	} {
		v.host("apply", tt.ref)
		g := v.startIn(tt.year)
		g.wantBoot("a", "1.0")
		g.wantYear(tt.year)
		st := g.status()
		if st.Fallback == nil || !strings.Contains(*st.Fallback, tt.reason) {
			t.Errorf("%s: fallback in status = %v; want a reason with %q", tt.name, deref(st.Fallback), tt.reason)
		}
		if b := st.Slots["b"]; b.State != bootctl.Bad || !strings.Contains(b.LastFailure, tt.reason) {
			t.Errorf("%s: slot b = %+v; want bad, %q", tt.name, b, tt.reason)
		}
		g.run("abupdate", "mark-good")
		// The running system knows that it would be in vain.
		r := g.try("abupdate", "apply", guestRegistry+"/update:v2", "--insecure", "--allow-denied")
		if r.Exit != 4 || !strings.Contains(r.Stderr, "starts only what is signed") {
			t.Errorf("apply of an unsigned update in the guest exited with %d: %s; want 4", r.Exit, r.Stderr)
		}
		if r := g.try("abupdate", "apply", guestRegistry+"/image:v2", "--insecure", "--allow-denied"); r.Exit != 6 || !strings.Contains(r.Stderr, "--allow-local") {
			t.Errorf("apply of an ordinary image in the guest exited with %d: %s; want 6", r.Exit, r.Stderr)
		}
		if tt.year == lastYear {
			g.run("guest", "clock", "2099-12-31T12:00:00Z")
			g.wantYear(2099)
		}
		g.run("guest", "write", "/run/vendor.pub", string(public))
		out := g.run("abupdate", "apply", guestRegistry+"/trust:v2", "--insecure", "--allow-denied", "--stage-only", "--trust", "/run/vendor.pub")
		if !strings.Contains(out, "signed by") {
			t.Errorf("apply of a signed update in %d says %q; want who signed it", tt.year, out)
		}
		v.stop(g)
	}

	trusted := v.file("trust.d")
	if err := os.Mkdir(trusted, 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, v.file("vendor.pub"), trusted+"/vendor.pub")
	v.host0("key", "endorse", v.file("next.pub"), "--sign-key", v.file("vendor.key"), "-o", trusted+"/next.keys")
	v.host("apply", v.update("v3", "next"), "--trust", trusted, "--allow-denied")
	g := v.startIn(1970)
	g.wantBoot("b", "3.0")
	if b := g.status().Slots["b"]; b.Signatures != 1 || b.LastFailure != "" {
		t.Errorf("slot b with the next key = %+v; want it signed, and no failure", b)
	}
}
