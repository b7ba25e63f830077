package initramfs_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery"
	"github.com/abupdate/abupdate/recovery/recoverytest"
)

// installed is a new device: version 1.0 in slot A, good.
func installed(t testing.TB) *device {
	t.Helper()
	d := recoverytest.NewDisk(t, 0, true)
	d.FillSlot(t, bootctl.SlotRecovery, "golden")
	d.SetState(t, bootctl.New().Install(bootctl.SlotA, d.FillSlot(t, bootctl.SlotA, "1.0")))
	return newDevice(t, d.Dev)
}

// updated is a device whose confirmed slot is A and on which B was staged.
func updated(t testing.TB, change ...func(*manifest.Manifest)) *device {
	t.Helper()
	d := recoverytest.NewDisk(t, 0, true)
	d.FillSlot(t, bootctl.SlotRecovery, "golden")
	s := bootctl.New().Install(bootctl.SlotA, d.FillSlot(t, bootctl.SlotA, "1.0"))
	d.SetState(t, s.Stage(bootctl.SlotB, d.FillSlot(t, bootctl.SlotB, "2.0", change...)))
	return newDevice(t, d.Dev)
}

func TestFirstBoot(t *testing.T) {
	d := installed(t)
	f := d.boot(func(f *fakeSystem) {
		image{"etc/abupdate/modules": "/lib/a.ko\n?/lib/b.ko\n\n"}.put(t, f.root)
		f.fail["module /lib/b.ko"] = errors.New("built for another bus")
		f.clock = 1500 * time.Millisecond
	})
	want := []string{
		"mount proc proc /proc",
		"mount sysfs sysfs /sys",
		"mount devtmpfs devtmpfs /dev mode=0755",
		"mount tmpfs tmpfs /run mode=0755,size=20%",
		"module /lib/a.ko",
		"module /lib/b.ko",
		"disk loader= disk=",
		"verity /dev/vda3 restart=true",
		"mount squashfs /dev/dm-0 /run/abupdate/lower ro",
		"mount tmpfs tmpfs /run/abupdate/overlay mode=0700,size=50%",
		"mount overlay overlay /sysroot lowerdir=/run/abupdate/lower,upperdir=/run/abupdate/overlay/upper,workdir=/run/abupdate/overlay/work",
		"show var",
		"mount  /dev /sysroot/dev bind",
		"mount  /proc /sysroot/proc bind",
		"run /usr/sbin/mkfs.ext4 -q -F -L var -E lazy_itable_init=1 /dev/vda6",
		"unmount /sysroot/proc",
		"unmount /sysroot/dev",
		"mount ext4 /dev/vda6 /sysroot/var",
		"random 16",
		"syncfs /sysroot/var",
		"mount  /dev /sysroot/dev move",
		"mount  /proc /sysroot/proc move",
		"mount  /sys /sysroot/sys move",
		"mount  /run /sysroot/run move",
		"switch_root /sysroot",
	}
	if diff := cmp.Diff(want, f.calls); diff != "" {
		t.Errorf("the sequence differs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/sbin/init", "single"}, f.switched); diff != "" {
		t.Errorf("init differs (-want +got):\n%s", diff)
	}
	wantEnv := []string{"TERM=vt220", "color=blue", "HOME=/", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if diff := cmp.Diff(wantEnv, f.env); diff != "" {
		t.Errorf("environment differs (-want +got):\n%s", diff)
	}
	if got := f.read("proc/sys/kernel/panic"); got != "5\n" {
		t.Errorf("kernel.panic = %q; want 5: an init that ends must not end the device", got)
	}
	if s := d.state(); s.MakingVar || s.LastBoot.Slot != bootctl.SlotA || s.LastBoot.Confirmed {
		t.Errorf("state after the boot = %+v; want an unconfirmed boot of a, var made", s)
	}
	var booted bootctl.Booted
	if err := json.Unmarshal([]byte(f.read("run/abupdate/boot.json")), &booted); err != nil {
		t.Fatal(err)
	}
	layout := d.layout()
	wantBooted := bootctl.Booted{Slot: bootctl.SlotA, Disk: "/dev/vda", DiskGUID: layout.GUID(), Version: "1.0",
		RootHash: d.slot(bootctl.SlotA).RootHash, Kernel: recoverytest.Kernel, StatePartition: layout.StatePartition().GUID,
		Selector: recoverytest.Kernel, Kexec: true}
	if diff := cmp.Diff(wantBooted, booted); diff != "" {
		t.Errorf("boot.json differs (-want +got):\n%s", diff)
	}
}

func TestSecondBootKeepsVar(t *testing.T) {
	d := installed(t)
	id := d.boot().read("sysroot/etc/machine-id")
	kept := filepath.Join(d.var_, "lib/app/mine")
	if err := os.WriteFile(kept, []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	f := d.boot()
	if f.did("run ") || f.did("syncfs") {
		t.Errorf("the second boot ran %q; want no mkfs and no fsck of a clean file system", f.calls)
	}
	if got := f.read("sysroot/var/lib/app/mine"); got != "kept" {
		t.Errorf("a file on /var after a reboot = %q; want it kept", got)
	}
	if got := f.read("sysroot/etc/machine-id"); got != id || len(id) != 33 {
		t.Errorf("machine-id = %q after %q; want the same 32 digits", got, id)
	}
}

// The decrement is on the disk before the slot is touched.
func TestTryIsCountedFirst(t *testing.T) {
	d := updated(t)
	for want := bootctl.DefaultTries - 1; want >= 0; want-- {
		f := d.boot(func(f *fakeSystem) {
			f.onVerity = func() {
				if got := int(d.slot(bootctl.SlotB).TriesLeft); got != want || f.booting != bootctl.SlotB {
					t.Errorf("slot %v opened with %d tries of b left on the disk; want b and %d", f.booting, got, want)
				}
			}
		})
		if !f.did("verity") {
			t.Error("no slot was opened")
		}
	}
	f := d.boot()
	if f.booting != bootctl.SlotA {
		t.Errorf("slot %v boots after three unconfirmed tries of b; want a", f.booting)
	}
	if got := f.read("run/abupdate/boot.json"); !strings.Contains(got, "slot b (2.0)") {
		t.Errorf("boot.json = %s; want it to tell of the fallback", got)
	}
}

// Every failure in slot B is a counted reboot with its reason, three times;
// then A boots, where the failure is not in what they share.
func TestFailuresAreCounted(t *testing.T) {
	slotB := func(im image) func(*device) {
		return func(d *device) { d.images[bootctl.SlotB] = usual.with(im) }
	}
	broken := errors.New("broken")
	for _, tt := range []struct {
		name     string
		manifest func(*manifest.Manifest)
		device   func(*device)
		machine  func(*fakeSystem)
		reason   string
	}{
		{name: "another kernel", manifest: func(m *manifest.Manifest) { m.Kernel = "6.9.0" },
			reason: "its kernel is 6.9.0, the running one is " + recoverytest.Kernel},
		{name: "another kernel's modules", manifest: func(m *manifest.Manifest) { m.Kernel = "" },
			device: slotB(image{"usr/lib/modules/6.9.0/": ""}), reason: "its kernel is 6.9.0"},
		{name: "another architecture", manifest: func(m *manifest.Manifest) { m.Architecture = "s390x" }, reason: "it is for s390x"},
		{name: "footer damaged", device: func(d *device) { damage(d, partitions.LabelRootB, -4000) }, reason: "slot footer"},
		{name: "footer gone", device: func(d *device) { zero(d, partitions.LabelRootB) }, reason: "the slot is empty"},
		{name: "another system than was staged", device: func(d *device) {
			s := d.state()
			s.Slot(bootctl.SlotB).RootHash = strings.Repeat("0", 64)
			save(d, s)
		}, reason: "the boot state tells of 0000"},
		{name: "verity does not open", machine: func(f *fakeSystem) { f.fail["verity /dev/vda4"] = broken }, reason: "opening dm-verity: broken"},
		{name: "no init", device: slotB(image{"sbin/init": "gone"}), reason: "no init"},
		{name: "init is a dangling link", device: slotB(image{"sbin/init": "-> /lib/gone"}), reason: "no init"},
		{name: "init is a directory", device: slotB(image{"sbin/init": "gone", "sbin/init/": ""}), reason: "no init"},
		{name: "no mkfs", device: slotB(image{"usr/sbin/mkfs.ext4": "gone"}), reason: "neither mkfs.ext4 nor mkfs.btrfs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change := tt.manifest
			if change == nil {
				change = func(*manifest.Manifest) {}
			}
			d := updated(t, change)
			if tt.device != nil {
				tt.device(d)
			}
			machine := func(f *fakeSystem) {
				if tt.machine != nil {
					tt.machine(f)
				}
			}
			for try := 1; try <= bootctl.DefaultTries; try++ {
				f := d.boot(machine)
				b := d.slot(bootctl.SlotB)
				if f.restarted != recovery.Reboot || int(b.TriesLeft) != bootctl.DefaultTries-try || !strings.Contains(b.LastFailure, tt.reason) {
					t.Fatalf("try %d: restarted %v, %d tries left, last failure %q; want a counted reboot because of %q",
						try, f.restarted, b.TriesLeft, b.LastFailure, tt.reason)
				}
				if !f.said(tt.reason) {
					t.Errorf("try %d: the console showed %q; want %q in it", try, f.log, tt.reason)
				}
			}
			f := d.boot(machine)
			if f.booting != bootctl.SlotA || f.switched == nil {
				t.Errorf("then slot %v boots; want a; log %q", f.booting, f.log)
			}
			if s := d.state(); !strings.Contains(s.Fallback, tt.reason) {
				t.Errorf("fallback = %q; want %q in it", s.Fallback, tt.reason)
			}
		})
	}
}

// A failure in what both slots share is counted too, and ends in recovery.
func TestSharedFailuresEndInRecovery(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name    string
		device  func(*device) // if it puts something on var, that must stay
		machine func(*fakeSystem)
		reason  string
	}{
		{name: "squashfs does not mount", machine: func(f *fakeSystem) { f.fail["mount squashfs"] = broken }, reason: "mounting /dev/dm-0 (squashfs)"},
		{name: "no room for the overlay", machine: func(f *fakeSystem) { f.fail["mount tmpfs tmpfs /run/abupdate"] = broken }, reason: "mounting tmpfs"},
		{name: "overlay does not mount", machine: func(f *fakeSystem) { f.fail["mount overlay"] = broken }, reason: "mounting overlay"},
		{name: "/var holds something else", device: func(d *device) { put(d, partitions.LabelVar, 4000, "precious") },
			reason: "/var: /dev/vda6 holds something unknown, which is left alone"},
		{name: "/var is encrypted", device: func(d *device) { put(d, partitions.LabelVar, 0, "LUKS\xba\xbe") },
			reason: "holds a LUKS volume"},
		{name: "/var does not mount", machine: func(f *fakeSystem) { f.fail["mount ext4"] = broken }, reason: "/var: mounting /dev/vda6 (ext4)"},
		{name: "mkfs fails", machine: func(f *fakeSystem) {
			f.exits["mkfs.ext4"] = result(1, "mke2fs 1.47\n/dev/vda6: Input/output error\n")
		}, reason: "/usr/sbin/mkfs.ext4 /dev/vda6: exit 1: /dev/vda6: Input/output error"},
		{name: "mkfs does not end", machine: func(f *fakeSystem) { f.fail["run /usr/sbin/mkfs.ext4"] = broken }, reason: "broken"},
		{name: "init does not run", machine: func(f *fakeSystem) { f.fail["switch_root"] = broken }, reason: "broken"},
		{name: "a bug of our own", machine: func(f *fakeSystem) { f.panics["mount overlay"] = "index out of range" },
			reason: "internal error: index out of range"},
		{name: "init= that is not there", device: func(d *device) { d.cmdline += " init=/bin/gone" }, reason: "init=/bin/gone is not a program"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := updated(t)
			if tt.device != nil {
				tt.device(d)
			}
			before := varBytes(d)
			boots := 0
			for ; boots < 20; boots++ {
				f := d.boot(func(f *fakeSystem) {
					if tt.machine != nil {
						tt.machine(f)
					}
					f.console.Keys = "6\r"
				})
				if f.restarted == recovery.PowerOff {
					break // the recovery menu was reached
				}
				s := d.state()
				if last := s.Slot(s.LastBoot.Slot).LastFailure; f.restarted != recovery.Reboot || !strings.Contains(last, tt.reason) {
					t.Fatalf("boot %d: restarted %v, last failure %q; want a reboot because of %q", boots, f.restarted, last, tt.reason)
				}
			}
			if want := bootctl.DefaultTries + bootctl.MaxFailedBoots; boots != want {
				t.Errorf("recovery after %d boots; want %d: the tries of b, then what a good slot may fail", boots, want)
			}
			if blank := strings.Trim(before, "\x00") == ""; !blank && varBytes(d) != before {
				t.Error("what was on the var partition changed")
			}
		})
	}
}

func TestSlotOrderedOnTheCommandLine(t *testing.T) {
	for _, tt := range []struct {
		name, cmdline string
		want          bootctl.Slot
	}{
		{"none", "", bootctl.SlotB},
		{"a", " abupdate.slot=a", bootctl.SlotA},
		{"b", " abupdate.slot=b", bootctl.SlotB},
		{"the last one counts", " abupdate.slot=b abupdate.slot=a", bootctl.SlotA},
		{"no such slot", " abupdate.slot=c", bootctl.SlotB},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := updated(t)
			d.cmdline += tt.cmdline
			if f := d.boot(); f.booting != tt.want {
				t.Errorf("slot %v boots; want %v", f.booting, tt.want)
			}
			if s := d.state(); tt.want == bootctl.SlotA && s.Slot(bootctl.SlotB).TriesLeft != bootctl.DefaultTries {
				t.Errorf("an order for a took a try of b: %+v", s)
			}
		})
	}
	t.Run("a slot that holds nothing", func(t *testing.T) {
		d := installed(t)
		d.cmdline += " abupdate.slot=b"
		f := d.boot()
		if f.booting != bootctl.SlotA || !f.said("slot b was ordered, but: slot b holds no system") {
			t.Errorf("slot %v boots, log %q; want a, and a word of it", f.booting, f.log)
		}
	})
	t.Run("a bad slot boots by order", func(t *testing.T) {
		d := updated(t)
		s, err := d.state().MarkBad(bootctl.SlotB, "test")
		if err != nil {
			t.Fatal(err)
		}
		save(d, s)
		d.cmdline += " abupdate.slot=b"
		if f := d.boot(); f.booting != bootctl.SlotB {
			t.Errorf("slot %v boots; want b", f.booting)
		}
	})
}

func TestBootMenu(t *testing.T) {
	for _, tt := range []struct {
		name, keys, cmdline string
		want                bootctl.Slot
		waited              time.Duration // at most
	}{
		{"no key", "", "", bootctl.SlotB, time.Second},
		{"another key is not the menu's", "\x1b[24;80R\r", "", bootctl.SlotB, time.Second},
		{"m, then slot a", "m1\r", "", bootctl.SlotA, 0},
		{"a longer window", "", " abupdate.menu=5", bootctl.SlotB, 5 * time.Second},
		{"no window", "m1\r", " abupdate.menu=0", bootctl.SlotB, 0},
		{"m by noise, nobody answers", "m", "", bootctl.SlotB, 2 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := updated(t)
			d.cmdline = tt.cmdline
			f := d.boot(func(f *fakeSystem) { f.console.Keys = tt.keys })
			if f.booting != tt.want || f.console.Waited > tt.waited {
				t.Errorf("slot %v boots after %v; want %v after at most %v", f.booting, f.console.Waited, tt.want, tt.waited)
			}
		})
	}
	t.Run("nobody can type", func(t *testing.T) {
		d := updated(t)
		d.cmdline = ""
		f := d.boot(func(f *fakeSystem) { f.console.NoInput = true })
		if f.console.Waited != 0 {
			t.Errorf("waited %v for a key; want not at all", f.console.Waited)
		}
	})
	t.Run("the window counts from the start", func(t *testing.T) {
		d := updated(t)
		d.cmdline = ""
		f := d.boot(func(f *fakeSystem) { f.diskAt = 900 * time.Millisecond })
		if f.console.Waited > 150*time.Millisecond {
			t.Errorf("waited %v for a key after 900 ms for the disk; want the rest of a second", f.console.Waited)
		}
	})
}

func TestBootDisk(t *testing.T) {
	t.Run("appears late", func(t *testing.T) {
		f := installed(t).boot(func(f *fakeSystem) { f.diskAt = 7 * time.Second })
		if f.switched == nil {
			t.Errorf("no boot from a disk that appears after 7 s: %q", f.log)
		}
	})
	t.Run("never appears", func(t *testing.T) {
		f := installed(t).boot(func(f *fakeSystem) { f.diskAt = time.Hour })
		if f.restarted != recovery.Reboot || f.clock > time.Minute || !f.said("finding the boot disk: no boot disk found") {
			t.Errorf("restarted %v after %v, log %q; want a reboot within a minute", f.restarted, f.clock, f.log)
		}
	})
	t.Run("cannot be told from another", func(t *testing.T) {
		f := installed(t).boot(func(f *fakeSystem) { f.fail["disk"] = partitions.ErrAmbiguous })
		if f.restarted != recovery.Reboot || f.did("verity") {
			t.Errorf("restarted %v, calls %q; want a reboot and no slot touched", f.restarted, f.calls)
		}
	})
	t.Run("named by loader and command line", func(t *testing.T) {
		d := installed(t)
		d.cmdline += " abupdate.disk=ABCD-01"
		f := d.boot(func(f *fakeSystem) {
			var utf16 strings.Builder
			for _, c := range "0123-ABCD" {
				utf16.WriteString(string(c) + "\x00")
			}
			image{"sys/firmware/efi/efivars/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f": "\x06\x00\x00\x00" + utf16.String() + "\x00\x00"}.put(t, f.root)
		})
		if !f.did("disk loader=0123-abcd disk=abcd-01") {
			t.Errorf("calls %q; want both hints given", f.calls)
		}
	})
}

func TestRequiredModule(t *testing.T) {
	f := installed(t).boot(func(f *fakeSystem) {
		image{"etc/abupdate/modules": "/lib/dm-verity.ko\n"}.put(t, f.root)
		f.fail["module"] = errors.New("no such device")
	})
	if f.restarted != recovery.Reboot || !f.said("loading /lib/dm-verity.ko: no such device") {
		t.Errorf("restarted %v, log %q; want a reboot that says why", f.restarted, f.log)
	}
}

// Modules get what the command line says to them.
func TestModuleParams(t *testing.T) {
	d := installed(t)
	d.cmdline += ` nvme-core.timeout=5 nvme_core.label="a b" i6300esb.heartbeat=9 abupdate.watchdog=60 root=nvme_core.x=1 watchdog.`
	f := d.boot(func(f *fakeSystem) {
		image{"etc/abupdate/modules": "/lib/nvme-core.ko\n/lib/watchdog.ko\n?/lib/i6300esb.ko\n/lib/other.ko\n"}.put(t, f.root)
	})
	for _, want := range []string{`module /lib/nvme-core.ko timeout=5 label="a b"`, "module /lib/watchdog.ko stop_on_reboot=0", "module /lib/i6300esb.ko heartbeat=9", "module /lib/other.ko"} {
		if !slices.Contains(f.calls, want) {
			t.Errorf("calls %q; want %q", f.calls, want)
		}
	}
}

// Between abinit and the image's init somebody pings the watchdog that was
// armed, and only that; where that cannot be, the boot goes on.
func TestWatchdogIsBridged(t *testing.T) {
	for _, tt := range []struct {
		name, cmdline string
		fail          error
		want          []string
	}{
		{"not armed", " abupdate.watchdog_grace=20", nil, nil},
		{"armed", " abupdate.watchdog=60", nil, []string{"bridge 1m0s 5m0s"}},
		{"a time of its own", " abupdate.watchdog=60 abupdate.watchdog_grace=20", nil, []string{"bridge 1m0s 20s"}},
		{"not wanted", " abupdate.watchdog=60 abupdate.watchdog_grace=0", nil, nil},
		{"it does not start", " abupdate.watchdog=60", errors.New("no memory"), []string{"bridge 1m0s 5m0s"}},
	} {
		d := installed(t)
		d.cmdline += tt.cmdline
		f := d.boot(func(f *fakeSystem) {
			f.watchdog = "mount devtmpfs"
			f.fail["bridge"] = tt.fail
		})
		var got []string
		moved := slices.IndexFunc(f.calls, func(c string) bool { return strings.HasPrefix(c, "mount  /dev /sysroot/dev move") })
		for i, call := range f.calls {
			if strings.HasPrefix(call, "bridge") {
				got = append(got, call)
				if i > moved {
					t.Errorf("%s: call %d of %q; want it before /dev is moved away", tt.name, i, f.calls)
				}
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: calls differ (-want +got):\n%s", tt.name, diff)
		}
		if f.switched == nil || tt.fail != nil && !f.said("no memory") {
			t.Errorf("%s: switched to %q, log %q; want the init, and what failed", tt.name, f.switched, f.log)
		}
	}
}

// The watchdog is armed as soon as there is one, and only when that is
// ordered. The one in software stands in where the machine has none.
func TestWatchdog(t *testing.T) {
	const (
		early = "module /lib/modules/1/kernel/drivers/watchdog/i6300esb.ko"
		late  = "module /lib/modules/1/kernel/drivers/block/virtio_blk.ko"
		soft  = "module /lib/modules/1/kernel/drivers/watchdog/softdog.ko"
	)
	list := strings.NewReplacer("module ", "?", ";", "\n").Replace(strings.Join([]string{early, soft, late, ""}, ";"))
	for _, tt := range []struct {
		name, cmdline string
		watchdog      string // call that makes it appear
		want          []string
	}{
		{"not ordered", "", early, []string{early, late}},
		{"not ordered, none there", "", soft, []string{early, late}},
		{"built in", " abupdate.watchdog=60", "mount devtmpfs", []string{"watchdog 1m0s", early, late}},
		{"a module", " abupdate.watchdog=60", early, []string{early, "watchdog 1m0s", late}},
		{"none but the one in software", " abupdate.watchdog=60", soft, []string{early, late, soft, "watchdog 1m0s"}},
		{"none at all", " abupdate.watchdog=60", "never", []string{early, late, soft}},
	} {
		d := installed(t)
		d.cmdline += tt.cmdline
		f := d.boot(func(f *fakeSystem) {
			f.watchdog = tt.watchdog
			image{"etc/abupdate/modules": list}.put(t, f.root)
		})
		var got []string
		for _, call := range f.calls {
			if strings.HasPrefix(call, "module ") || strings.HasPrefix(call, "watchdog") {
				got = append(got, call)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: calls differ (-want +got):\n%s", tt.name, diff)
		}
		if f.switched == nil {
			t.Errorf("%s: no init; log %q", tt.name, f.log)
		}
	}
}
