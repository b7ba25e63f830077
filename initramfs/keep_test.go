package initramfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/recovery/recoverytest"
)

// keeping is a device with an image in each slot that keeps /etc and /srv/app.
func keeping(t *testing.T) *device {
	t.Helper()
	keep := func(m *manifest.Manifest) {
		m.Etc, m.Persist = manifest.EtcPersist, []string{"/opt/none", "/srv/app"}
	}
	d := recoverytest.NewDisk(t, 0, true)
	s := bootctl.New().Install(bootctl.SlotA, d.FillSlot(t, bootctl.SlotA, "1.0", keep))
	s = s.Install(bootctl.SlotB, d.FillSlot(t, bootctl.SlotB, "2.0", keep))
	d.SetState(t, s)
	dev := newDevice(t, d.Dev)
	dev.images[bootctl.SlotA] = usual.with(image{"etc/a.conf": "1", "etc/b.conf": "1", "srv/app/seed": "from the image"})
	dev.images[bootctl.SlotB] = usual.with(image{"etc/a.conf": "2", "etc/b.conf": "2", "srv/app/seed": "of the next image"})
	return dev
}

// upper is the folder with the device's changes in /etc.
func (d *device) upper(name string) string {
	return filepath.Join(d.var_, "lib/abupdate/etc/upper", name)
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
		t.Fatal(err)
	}
}

func TestEtcIsKept(t *testing.T) {
	d := keeping(t)
	f := d.boot()
	mount := "mount overlay overlay /sysroot/etc lowerdir=/run/abupdate/lower/etc,upperdir=/sysroot/var/lib/abupdate/etc/upper," +
		"workdir=/sysroot/var/lib/abupdate/etc/work,redirect_dir=off,index=off,metacopy=off"
	at, varAt := slices.Index(f.calls, mount), slices.IndexFunc(f.calls, func(c string) bool { return strings.Contains(c, " /sysroot/var") })
	if at < 0 || varAt < 0 || at < varAt || f.switched == nil {
		t.Fatalf("calls:\n%s\nwant, after /var, %s", strings.Join(f.calls, "\n"), mount)
	}
	writeText(t, d.upper("a.conf"), "mine")
	writeText(t, d.upper("b.conf"), "1") // opened for writing only
	if f := d.boot(); f.said("a.conf") {
		t.Errorf("log %q; want no conflict with the same image", f.log)
	}
	save(d, d.state().SetOneShot(bootctl.SlotB))
	f = d.boot()
	if f.booting != bootctl.SlotB || !f.said("/etc/a.conf: changed by this device and by the image") || f.said("b.conf") {
		t.Errorf("slot %v, log %q; want slot b and a conflict in a.conf alone", f.booting, f.log)
	}
	if b, err := os.ReadFile(d.upper("a.conf")); string(b) != "mine" || err != nil {
		t.Errorf("a.conf is %q, %v; want the device's", b, err)
	}
	if _, err := os.Stat(d.upper("b.conf")); !os.IsNotExist(err) {
		t.Errorf("b.conf: %v; want it to follow the image", err)
	}
}

func TestFoldersAreKept(t *testing.T) {
	d := keeping(t)
	f := d.boot()
	for _, want := range []string{"mount  /sysroot/var/lib/abupdate/persist/srv/app /sysroot/srv/app bind",
		"mount  /sysroot/var/lib/abupdate/persist/opt/none /sysroot/opt/none bind"} {
		if !slices.Contains(f.calls, want) {
			t.Errorf("calls:\n%s\nwant %s", strings.Join(f.calls, "\n"), want)
		}
	}
	seed := filepath.Join(d.var_, "lib/abupdate/persist/srv/app/seed")
	if b, err := os.ReadFile(seed); string(b) != "from the image" || err != nil {
		t.Errorf("seed is %q, %v; want the image's", b, err)
	}
	writeText(t, seed, "mine")
	save(d, d.state().SetOneShot(bootctl.SlotB))
	d.boot()
	if b, err := os.ReadFile(seed); string(b) != "mine" || err != nil {
		t.Errorf("with the next image seed is %q, %v; want the device's", b, err)
	}
}

// A full /var costs the changes of this boot, not the boot.
func TestKeepingOnAFullVar(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		booted bool
	}{{"full", syscall.ENOSPC, true}, {"broken", syscall.EIO, false}} {
		d := keeping(t)
		f := d.boot(func(f *fakeSystem) { f.fail["mount overlay overlay /sysroot/etc"] = tt.err })
		if booted := f.switched != nil; booted != tt.booted {
			t.Errorf("%s: booted %v; want %v; log %q", tt.name, booted, tt.booted, f.log)
		}
		if !f.said("/etc: ") {
			t.Errorf("%s: log %q; want word of it", tt.name, f.log)
		}
	}
}

// Without the word of the image nothing is kept.
func TestNothingIsKeptUnasked(t *testing.T) {
	d := installed(t)
	f := d.boot()
	if f.did("mount overlay overlay /sysroot/etc") || f.did("mount  /sysroot/var/lib/abupdate/persist") {
		t.Errorf("calls:\n%s", strings.Join(f.calls, "\n"))
	}
	if _, err := os.Stat(filepath.Join(d.var_, "lib/abupdate/etc")); !os.IsNotExist(err) {
		t.Errorf("etc on /var: %v; want none", err)
	}
}
