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
	"github.com/abupdate/abupdate/updater"
)

const secureBootVar = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// TestSecureBoot boots disks on a machine that enforces Secure Boot: one whose
// selector is signed with a key in db, and is updated; one that goes over to
// another kernel; and one whose selector is not signed.
func TestSecureBoot(t *testing.T) {
	t.Run("signed, and a new selector", func(t *testing.T) {
		t.Parallel()
		key := snakeoil(t)
		testSecureSelector(t, newSelector(t, "forged=1", selfSigned(t)...), "--sb-key", key, "--sb-cert", vm.SecureBootCert)
	})
	if *full {
		t.Run("signed, and a new selector that is not", func(t *testing.T) {
			t.Parallel()
			key := snakeoil(t)
			testSecureSelector(t, newSelector(t, "forged=1"), "--sb-key", key, "--sb-cert", vm.SecureBootCert)
		})
	}
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

// testSecureSelector brings a selector that the firmware refuses, which costs
// nothing but that it is told, then one that is signed as the old one is.
func testSecureSelector(t *testing.T, forged string, sign ...string) {
	t.Helper()
	path := updater.LoaderPath("amd64")
	d := selectorDevice(t, "128M", map[string]string{selectorFile: forged, goodFile: newSelector(t, "newer=1", sign...)}, sign...)
	d.cfg.SecureBoot, d.cfg.Vars = true, filepath.Join(t.TempDir(), "vars.fd")
	g := start(t, d.cfg)
	g.wantBoot("a", "1.0")
	g.wantEnforced()
	if r := g.try("abupdate", "mark-good"); r.Exit != 0 || r.Stderr != "" {
		t.Fatalf("mark-good: %+v; want the selector ordered", r)
	}
	g.reboot()
	if _, err := g.Expect(deadline(t, bootTime), regexp.MustCompile(`BdsDxe: failed to load Boot\w+ "abupdate selector .*: (Access Denied|Security Violation)`)); err != nil {
		t.Fatal(err)
	}
	g.wantBoot("a", "1.0") // in the same boot
	if n := g.resets(); n != 1 {
		t.Errorf("%d resets; want the one that was ordered", n)
	}
	g.wantRefused(path)
	g.run("guest", "cp", goodFile, selectorFile)
	g.run("abupdate", "selector", "update")
	g.reboot()
	g.wantBoot("a", "1.0")
	g.wantEnforced()
	g.run("guest", "cp", goodFile, selectorFile)
	g.wantNewSelector()
	g.run("abupdate", "mark-good")
}

// selfSigned are options that sign with a key that no firmware knows.
func selfSigned(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	key, cert := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=nobody", "-days", "3650", "-keyout", key, "-out", cert).CombinedOutput()
	if err != nil {
		t.Fatalf("making a key with openssl (Debian package openssl): %v\n%s", err, out)
	}
	return []string{"--sb-key", key, "--sb-cert", cert}
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
