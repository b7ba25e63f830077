package qemutests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/debianimage"
	"github.com/abupdate/abupdate/internal/testimage"
)

// TestDebian boots a real Debian to multi-user, where abupdate apply takes an
// update from a registry on the host. The next system comes up from slot b and
// its own unit confirms it. systemd takes over the watchdog that abinit armed.
func TestDebian(t *testing.T) {
	t.Parallel()
	d := debianDevice(t)
	g := d.start("abupdate.watchdog=60", "systemd.watchdog_sec=60")
	b := g.wantBoot("a", "1")
	g.settled()
	g.run("journalctl", "--boot", "--quiet", "--identifier", "systemd", "--grep", "Using hardware watchdog") // else exit 1
	t.Logf("the agent ran %.1f s after the kernel's start", b.Uptime)
	if st := g.status(); st.Slots["a"].State != bootctl.Good || st.Fallback != nil {
		t.Errorf("status after the first boot = %+v; want a good", st)
	}
	if got := strings.TrimSpace(g.run("systemctl", "is-active", "multi-user.target", "abupdate-mark-good.service", "ssh.service")); got != "active\nactive\nactive" {
		t.Errorf("units are %q; want three active", got)
	}

	begin := time.Now()
	g.run("abupdate", "apply") // the reference is in the image's configuration
	t.Logf("apply took %.1f s", time.Since(begin).Seconds())
	g.reboot()
	g.wantBoot("b", "2")
	g.settled()
	st := g.status()
	if st.Slots["b"].State != bootctl.Good || st.Slots["a"].State != bootctl.Good || st.Fallback != nil {
		t.Errorf("status after the update = %+v; want b confirmed by its unit", st)
	}
	if out := g.run("systemctl", "--failed", "--plain", "--no-legend"); out != "" {
		t.Errorf("units that failed in slot b:\n%s", out)
	}
}

// debianDevice is a device whose disk holds Debian, with the next version
// published where its configuration looks for it.
func debianDevice(t *testing.T) *device {
	t.Helper()
	f := fixture(t)
	depot, err := stock()
	if err != nil {
		t.Fatal(err)
	}
	cache, err := testimage.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	set, err := debianimage.Build(t.Context(), debianimage.Binaries{Abupdate: f.bin.Abupdate, Agent: f.bin.Guest}, debianimage.Options{CacheDir: cache, Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	repo := depot.registry + "/device/debian"
	for _, img := range set.Tags()[:2] {
		ref, err := name.NewTag(repo+":"+img.Tag, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, img.Image, remote.WithContext(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	d := &device{t: t, f: f, d: depot, disk: filepath.Join(t.TempDir(), "debian.img")}
	for _, args := range [][]string{
		{"image", repo + ":v1", "-o", d.disk, "--size", "2G"},
		{"build", repo + ":v2", "--push", repo + ":stable"},
	} {
		if r := hostRun(f, args...); r.Exit != 0 {
			t.Fatalf("%q: %s", args, r.Stderr)
		}
	}
	d.useSelector()
	d.cfg.MemoryMiB = 512
	return d
}

// settled waits until systemd has started everything.
func (g *guest) settled() {
	g.t.Helper()
	r := g.try("systemctl", "is-system-running", "--wait")
	if state := strings.TrimSpace(r.Stdout); state != "running" {
		g.t.Errorf("systemd is %q: %s\n%s", state, r.Stderr, g.try("systemctl", "--failed", "--plain", "--no-legend").Stdout)
	}
}
