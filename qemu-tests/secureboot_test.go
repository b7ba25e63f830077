package qemutests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/testimage"
	"github.com/abupdate/abupdate/internal/vm"
)

const secureBootVar = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// TestSecureBoot boots disks on a machine that enforces Secure Boot: one whose
// selector is signed with a key in db, also when it goes over to another
// kernel, and one whose selector is not.
func TestSecureBoot(t *testing.T) {
	t.Run("signed", func(t *testing.T) {
		t.Parallel()
		d := secureDevice(t, "--sb-key", snakeoil(t), "--sb-cert", vm.SecureBootCert)
		g := start(t, d.cfg)
		g.wantBoot("a", "1.0")
		g.wantEnforced()
	})
	t.Run("a slot with another kernel, signed as well", func(t *testing.T) {
		t.Parallel()
		other := genericGarage(t)
		d := secureDevice(t, "--sb-key", snakeoil(t), "--sb-cert", vm.SecureBootCert)
		d.host("apply", signedKernel(t, other))
		g := start(t, d.cfg)
		g.wantBoot("b", "2.5")
		g.wantKernel(other.kernel.Release)
		g.wantEnforced()
	})
	t.Run("a slot with another kernel that db does not know", func(t *testing.T) {
		t.Parallel()
		other := genericGarage(t) // signed by Debian
		d := secureDevice(t, "--sb-key", snakeoil(t), "--sb-cert", vm.SecureBootCert)
		d.host("apply", other.image("good"))
		g := start(t, d.cfg)
		if _, err := g.Expect(deadline(t, bootTime), regexp.MustCompile(`slot b: .* locked down and knows no key that the new one is signed with`)); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("unsigned", func(t *testing.T) {
		t.Parallel()
		d := secureDevice(t)
		g := start(t, d.cfg)
		if _, err := g.Expect(deadline(t, bootTime), regexp.MustCompile(`BdsDxe: failed to load Boot\w+ .*: (Access Denied|Security Violation)`)); err != nil {
			t.Fatal(err)
		}
	})
}

// signedKernel is an image with the generic kernel, signed with a key in db in
// place of Debian's.
func signedKernel(t *testing.T, other *garage) string {
	t.Helper()
	f, dir := fixture(t), t.TempDir()
	k := *other.kernel
	k.Image = filepath.Join(dir, "vmlinuz")
	copyFile(t, other.kernel.Image, k.Image)
	for _, args := range [][]string{
		{"sbattach", "--remove", k.Image},
		{"sbsign", "--key", snakeoil(t), "--cert", vm.SecureBootCert, "--output", k.Image, k.Image},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q (Debian package sbsigntool): %v\n%s", args, err, out)
		}
	}
	set, err := testimage.New(&k, f.bin)
	if err != nil {
		t.Fatal(err)
	}
	if err := set.WriteLayout(filepath.Join(dir, "images"), testimage.Variant{Tag: "signed", Version: "2.5"}); err != nil {
		t.Fatal(err)
	}
	return "oci:" + filepath.Join(dir, "images") + ":signed"
}

func (g *guest) wantEnforced() {
	g.t.Helper()
	if got := g.run("guest", "cat", secureBootVar); !strings.HasSuffix(got, "\x01") {
		g.t.Errorf("the variable SecureBoot = %q; want it on", got)
	}
}

// secureDevice is a device with v1 whose firmware enforces Secure Boot.
func secureDevice(t *testing.T, args ...string) *device {
	t.Helper()
	f := fixture(t)
	depot, err := stock()
	if err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, f: f, d: depot, disk: filepath.Join(t.TempDir(), "disk.img")}
	args = append([]string{"image", depot.image("v1"), "-o", d.disk, "--layout", filepath.Join(depot.dir, "layout.toml")}, args...)
	if r := hostRun(f, args...); r.Exit != 0 {
		t.Fatalf("abupdate %q: %s", args, r.Stderr)
	}
	d.cfg = vm.Config{Disks: []vm.Disk{{Path: d.disk}}, SecureBoot: true, MemoryMiB: 512}
	return d
}

// snakeoil is the key that the firmware's db trusts, without its passphrase.
func snakeoil(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("openssl", "pkey", "-in", vm.SecureBootKey, "-passin", "pass:snakeoil").Output()
	if err != nil {
		t.Fatalf("reading %s with openssl (Debian packages ovmf, openssl): %v", vm.SecureBootKey, err)
	}
	file := filepath.Join(t.TempDir(), "db.key")
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
