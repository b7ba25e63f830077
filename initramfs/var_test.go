package initramfs_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/initramfs"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery/recoverytest"
)

func TestVarIsCheckedWhenDirty(t *testing.T) {
	const repaired = "/dev/vda6: recovering journal\n/dev/vda6: clean\n"
	for _, tt := range []struct {
		name   string
		state  string // ext4's s_state
		exit   initramfs.Result
		tool   image
		failed string
		run    string
	}{
		{"clean", "\x01\x00", result(0, ""), nil, "", ""},
		{"not unmounted, all well", "\x00\x00", result(0, ""), nil, "", "run /usr/sbin/e2fsck -p /dev/vda6"},
		{"marked with errors, repaired", "\x03\x00", result(1, repaired), nil, "", "run /usr/sbin/e2fsck -p /dev/vda6"},
		{"repaired, wants a reboot of what was mounted", "\x03\x00", result(3, repaired), nil, "", "run /usr/sbin/e2fsck"},
		{"not repaired", "\x03\x00", result(4, "UNEXPECTED INCONSISTENCY\n"), nil, "exit 4: UNEXPECTED INCONSISTENCY", "run /usr/sbin/e2fsck"},
		{"not run at all", "\x03\x00", result(8, ""), nil, "exit 8: it said nothing", "run /usr/sbin/e2fsck"},
		{"fsck.ext4 is its other name", "\x00\x00", result(0, ""), image{"usr/sbin/e2fsck": "gone", "sbin/fsck.ext4": "#!"}, "", "run /sbin/fsck.ext4 -p"},
		{"no fsck in the image", "\x00\x00", result(0, ""), image{"usr/sbin/e2fsck": "gone"}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := installed(t)
			d.boot()
			put(d, partitions.LabelVar, 1024+0x3a, tt.state)
			d.images[bootctl.SlotA] = usual.with(tt.tool)
			f := d.boot(func(f *fakeSystem) {
				f.exits["e2fsck"], f.exits["fsck.ext4"] = tt.exit, tt.exit
			})
			if got := d.slot(bootctl.SlotA).LastFailure; (tt.failed == "") != (f.switched != nil) || !strings.Contains(got, tt.failed) {
				t.Errorf("init %q, last failure %q; want %q", f.switched, got, tt.failed)
			}
			if ran := f.did("run "); ran != (tt.run != "") || !f.did(tt.run) {
				t.Errorf("calls %q; want %q among them", f.calls, tt.run)
			}
		})
	}
}

func TestVarKinds(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(d *device)
		want string // a call
	}{
		{"ext4", func(d *device) { mustSuperblock(d, "ext4") }, "mount ext4 /dev/vda6 /sysroot/var"},
		{"btrfs", func(d *device) { mustSuperblock(d, "btrfs") }, "mount btrfs /dev/vda6 /sysroot/var"},
		{"xfs", func(d *device) { put(d, partitions.LabelVar, 0, "XFSB") }, "mount xfs /dev/vda6 /sysroot/var"},
		{"f2fs", func(d *device) { put(d, partitions.LabelVar, 1024, "\x10\x20\xf5\xf2") }, "mount f2fs /dev/vda6 /sysroot/var"},
		{"blank, image with btrfs only", func(d *device) {
			d.images[bootctl.SlotA] = usual.with(image{"usr/sbin/mkfs.ext4": "gone", "usr/bin/mkfs.btrfs": "#!"})
		}, "run /usr/bin/mkfs.btrfs -q -f -L var /dev/vda6"},
		{"blank, /sbin is a link", func(d *device) {
			d.images[bootctl.SlotA] = usual.with(image{"usr/sbin/mkfs.ext4": "gone", "usr/sbin/e2fsck": "gone",
				"sbin/init": "gone", "sbin": "-> /opt/sbin", "opt/sbin/init": "#!", "opt/sbin/mkfs.ext4": "#!"})
		}, "run /sbin/mkfs.ext4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := installed(t)
			tt.make(d)
			f := d.boot()
			if !f.did(tt.want) || f.switched == nil {
				t.Errorf("calls %q; want %q; log %q", f.calls, tt.want, f.log)
			}
		})
	}
}

func mustSuperblock(d *device, kind string) {
	d.t.Helper()
	if err := putSuperblock(section(d, partitions.LabelVar), kind); err != nil {
		d.t.Fatal(err)
	}
}

func TestVarGrowsWithTheDisk(t *testing.T) {
	const size = 512 << 20
	d := installed(t)
	d.boot()
	before, _ := d.layout().Partition(partitions.LabelVar)
	d.dev = recoverytest.Grown(d.dev, size)
	f := d.boot()
	after, _ := d.layout().Partition(partitions.LabelVar)
	if after.Size <= before.Size || after.Off != before.Off || after.GUID != before.GUID {
		t.Errorf("var was %+v and is %+v; want the same, larger", before, after)
	}
	if d.dev.Size()-after.Off-after.Size > 2<<20 {
		t.Errorf("%d bytes behind var; want it to end where the disk does", d.dev.Size()-after.Off-after.Size)
	}
	i, j := indexOf(f.calls, "show var"), indexOf(f.calls, "mount ext4")
	if i < 0 || j < i {
		t.Errorf("calls %q; want the kernel told of the new size before the mount", f.calls)
	}
	if want := "growfs /sysroot/var ext4 "; !f.did(want) {
		t.Errorf("calls %q; want %q", f.calls, want)
	}
	t.Run("a file system that does not grow is no failure", func(t *testing.T) {
		f := d.boot(func(f *fakeSystem) { f.fail["growfs"] = os.ErrPermission })
		if f.switched == nil || !f.said("growing /var from") {
			t.Errorf("init %q, log %q; want a boot and a word of it", f.switched, f.log)
		}
	})
}

func indexOf(calls []string, prefix string) int {
	for i, c := range calls {
		if strings.HasPrefix(c, prefix) {
			return i
		}
	}
	return -1
}

// The backup of a damaged table is used, and the kernel, which sees no
// partitions then, is told of them all before a slot is opened.
func TestDamagedPartitionTable(t *testing.T) {
	d := installed(t)
	if _, err := d.dev.WriteAt(make([]byte, 512), 512); err != nil {
		t.Fatal(err)
	}
	f := d.boot()
	if i, j := indexOf(f.calls, "show root-a"), indexOf(f.calls, "verity"); i < 0 || i > j {
		t.Errorf("calls %q; want root-a shown to the kernel before it is opened", f.calls)
	}
	if f := d.boot(); f.said("damaged") || f.switched == nil {
		t.Errorf("log %q; want the table repaired by the boot before", f.log)
	}
}

func TestImageVarIsCopied(t *testing.T) {
	d := installed(t)
	first := d.boot()
	want := map[string]string{"lib/app/default": "as shipped", "run": "-> /run", "empty": "dir", "lib/app": "dir",
		"lib": "dir", "lib/abupdate": "dir", "lib/abupdate/machine-id": first.read("sysroot/etc/machine-id"),
		"lib/abupdate/filled-from": d.slot(bootctl.SlotA).RootHash + "\n"}
	if diff := cmp.Diff(want, tree(t, d.var_)); diff != "" {
		t.Errorf("/var after the first boot differs (-want +got):\n%s", diff)
	}

	// The operator changes, deletes and adds.
	change := image{"lib/app/default": "changed", "lib/app/own": "own"}
	must(t, os.RemoveAll(filepath.Join(d.var_, "empty")))
	must(t, os.Remove(filepath.Join(d.var_, "run")))
	must(t, os.Remove(filepath.Join(d.var_, "lib/app/default")))
	change.put(t, d.var_)
	want["lib/app/default"], want["lib/app/own"] = "changed", "own"
	delete(want, "run") // a file: deleted stays deleted while the image is the same
	d.boot()
	if diff := cmp.Diff(want, tree(t, d.var_)); diff != "" {
		t.Errorf("/var after a change and a reboot differs (-want +got):\n%s", diff)
	}

	// A new image brings a file, a directory, and wants one where there is a file.
	must(t, os.WriteFile(filepath.Join(d.var_, "taken"), []byte("mine"), 0o644))
	d.images[bootctl.SlotB] = usual.with(image{"var/lib/app/new": "n", "var/log/x/y": "z", "var/taken/": ""})
	s := d.state()
	info := d.fill(bootctl.SlotB, "2.0")
	save(d, s.Stage(bootctl.SlotB, info))
	if f := d.boot(); f.booting != bootctl.SlotB {
		t.Fatalf("slot %v boots; want b", f.booting)
	}
	for p, c := range map[string]string{"lib/app/new": "n", "log": "dir", "log/x": "dir", "log/x/y": "z", "taken": "mine",
		"run": "-> /run", "lib/abupdate/filled-from": info.RootHash + "\n"} {
		want[p] = c
	}
	if diff := cmp.Diff(want, tree(t, d.var_)); diff != "" {
		t.Errorf("/var after an update differs (-want +got):\n%s", diff)
	}
}

// fill writes a version into a slot of the device.
func (d *device) fill(slot bootctl.Slot, version string) bootctl.SlotInfo {
	d.t.Helper()
	dev, ok := d.dev.(*blockdevtest.Image)
	if !ok {
		d.t.Fatal("the device is not an image")
	}
	return (&recoverytest.Disk{Dev: dev, Layout: d.layout()}).FillSlot(d.t, slot, version)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree lists what is in a directory: contents, link targets, "dir".
func tree(t testing.TB, root string) map[string]string {
	t.Helper()
	got := map[string]string{}
	must(t, filepath.WalkDir(root, func(p string, e os.DirEntry, err error) error {
		name, _ := filepath.Rel(root, p)
		switch {
		case err != nil || name == ".":
			return err
		case e.IsDir():
			got[name] = "dir"
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(p)
			got[name] = "-> " + target
			return err
		default:
			b, err := os.ReadFile(p)
			got[name] = string(b)
			return err
		}
		return nil
	}))
	return got
}

func TestModesOfCopiedFiles(t *testing.T) {
	d := installed(t)
	d.images[bootctl.SlotA] = usual.with(image{"var/tmp/": "", "var/lib/secret/key": "k"})
	want := map[string]os.FileMode{
		"tmp": os.ModeDir | os.ModeSticky | 0o777, "lib/secret": os.ModeDir | 0o700, "lib/secret/key": os.ModeSetuid | 0o400}
	d.boot(func(f *fakeSystem) {
		f.onOverlay = func() {
			for name, mode := range want {
				must(t, os.Chmod(filepath.Join(f.root, "run/abupdate/lower/var", name), mode))
			}
		}
	})
	for name, want := range want {
		st, err := os.Stat(filepath.Join(d.var_, name))
		must(t, err)
		if st.Mode() != want {
			t.Errorf("%s has mode %v; want %v", name, st.Mode(), want)
		}
	}
}

func TestMachineID(t *testing.T) {
	const imageID = "00112233445566778899aabbccddeeff"
	t.Run("the image's own is not used", func(t *testing.T) {
		d := installed(t)
		d.images[bootctl.SlotA] = usual.with(image{"etc/machine-id": imageID + "\n"})
		if got := d.boot().read("sysroot/etc/machine-id"); strings.Contains(got, imageID) || len(got) != 33 {
			t.Errorf("machine-id = %q; want one of this device", got)
		}
	})
	t.Run("no /etc in the image", func(t *testing.T) {
		d := installed(t)
		d.images[bootctl.SlotA] = usual.with(image{"etc/machine-id": "gone"})
		if got := d.boot().read("sysroot/etc/machine-id"); len(got) != 33 {
			t.Errorf("machine-id = %q; want 32 digits", got)
		}
	})
	t.Run("a damaged one is replaced", func(t *testing.T) {
		d := installed(t)
		d.boot()
		stored := filepath.Join(d.var_, "lib/abupdate/machine-id")
		for _, bad := range []string{"", "uninitialized\n", strings.Repeat("0", 32), strings.Repeat("\x00", 33), "ABCDEF00112233445566778899AABBCC\n"} {
			must(t, os.Chmod(stored, 0o644))
			must(t, os.WriteFile(stored, []byte(bad), 0o644))
			got := d.boot().read("sysroot/etc/machine-id")
			if kept, err := os.ReadFile(stored); err != nil || got == bad || len(got) != 33 || string(kept) != got {
				t.Errorf("machine-id = %q, stored %q, %v after %q; want a new one, stored", got, kept, err, bad)
			}
		}
	})
	t.Run("without var it is the device's own, and stays", func(t *testing.T) {
		ids := map[string]string{}
		for _, uuid := range []string{"one", "one", "two"} {
			d := withoutVar(t)
			got := d.boot(func(f *fakeSystem) { image{"sys/class/dmi/id/product_uuid": uuid + "\n"}.put(t, f.root) }).read("sysroot/etc/machine-id")
			if len(got) != 33 || ids[uuid] != "" && ids[uuid] != got {
				t.Errorf("machine-id = %q after %q on machine %s; want the same", got, ids[uuid], uuid)
			}
			ids[uuid] = got
		}
		if ids["one"] == ids["two"] {
			t.Errorf("two machines with copies of one disk share the machine-id %s", ids["one"])
		}
	})
}

// withoutVar is a device whose last partition is not called var.
func withoutVar(t testing.TB) *device {
	t.Helper()
	d := installed(t)
	utf16 := func(s string) []byte { return []byte(s[:1] + "\x00" + s[1:2] + "\x00" + s[2:] + "\x00") }
	for _, header := range []int64{512, d.dev.Size() - 512} {
		h := make([]byte, 512)
		if _, err := d.dev.ReadAt(h, header); err != nil {
			t.Fatal(err)
		}
		entriesOff := int64(binary.LittleEndian.Uint64(h[72:])) * 512
		entries := make([]byte, 128*128)
		if _, err := d.dev.ReadAt(entries, entriesOff); err != nil {
			t.Fatal(err)
		}
		entries = bytes.Replace(entries, utf16("var"), utf16("own"), 1)
		binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
		binary.LittleEndian.PutUint32(h[16:], 0)
		binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
		for off, b := range map[int64][]byte{header: h, entriesOff: entries} {
			if _, err := d.dev.WriteAt(b, off); err != nil {
				t.Fatal(err)
			}
		}
	}
	return d
}

// A device whose /var is full, or became read-only, boots, so that somebody
// can make room; another error is a failure.
func TestVarFull(t *testing.T) {
	for _, tt := range []struct {
		err   error
		boots bool
	}{{syscall.ENOSPC, true}, {syscall.EDQUOT, true}, {syscall.EROFS, true}, {syscall.EIO, false}} {
		d := installed(t)
		d.boot()
		must(t, os.RemoveAll(filepath.Join(d.var_, "empty")))
		f := d.boot(func(f *fakeSystem) { f.fail["lchown /sysroot/var"] = tt.err })
		if boots := f.switched != nil; boots != tt.boots || !f.said(tt.err.Error()) {
			t.Errorf("%v: boots %v, log %q; want %v, and a word of it", tt.err, boots, f.log, tt.boots)
		}
		if left, _ := filepath.Glob(filepath.Join(d.var_, ".abupdate*")); left != nil {
			t.Errorf("%v: %q was left behind", tt.err, left)
		}
	}
}
