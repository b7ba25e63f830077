package qemutests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

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
	t.Run("signed, the slot has another kernel", func(t *testing.T) {
		t.Parallel()
		other := genericGarage(t)
		d := secureDevice(t, "--sb-key", snakeoil(t), "--sb-cert", vm.SecureBootCert)
		d.host("apply", other.image("good"))
		g := start(t, d.cfg)
		g.wantBoot("b", "2.0") // Debian's kernels trust each other
		g.wantKernel(other.kernel.Release)
		g.wantEnforced()
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
