package qemutests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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

// TestTrust gives a device with a key in its initramfs what nobody signed and
// what somebody else signed: both are tried, neither starts, and the old system
// says why. Then the key is replaced, by a list that the old one signed.
func TestTrust(t *testing.T) {
	t.Parallel()
	v := newVendor(t)
	for _, tt := range []struct{ name, ref, reason string }{
		{"unsigned", v.update("v2"), "it is unsigned"},
		{"signed by another key", v.update("v3", "stranger"), "no valid signature by any of"},
	} {
		v.host("apply", tt.ref)
		g := v.start()
		g.wantBoot("a", "1.0")
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
		v.stop(g)
	}

	trusted := v.file("trust.d")
	if err := os.Mkdir(trusted, 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, v.file("vendor.pub"), trusted+"/vendor.pub")
	v.host0("key", "endorse", v.file("next.pub"), "--sign-key", v.file("vendor.key"), "-o", trusted+"/next.keys")
	v.host("apply", v.update("v3", "next"), "--trust", trusted, "--allow-denied")
	g := v.start()
	g.wantBoot("b", "3.0")
	if b := g.status().Slots["b"]; b.Signatures != 1 || b.LastFailure != "" {
		t.Errorf("slot b with the next key = %+v; want it signed, and no failure", b)
	}
}
