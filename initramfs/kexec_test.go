package initramfs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"
	"github.com/ulikunitz/xz"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/initramfs"
	"github.com/abupdate/abupdate/initramfs/modules/modulestest"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery"
	"github.com/abupdate/abupdate/recovery/recoverytest"
)

const otherKernel = "6.9.0"

// withKernel is an image with a kernel and three modules.
func withKernel(t *testing.T) image {
	const dir = "usr/lib/modules/" + otherKernel + "/"
	return usual.with(image{
		dir + "vmlinuz":                    "the other kernel",
		dir + "kernel/md/dm-verity.ko":     string(modulestest.Object(t, "depends=dm-mod")),
		dir + "kernel/md/dm-mod.ko":        string(modulestest.Object(t)),
		dir + "kernel/fs/overlay.ko":       string(modulestest.Object(t)),
		dir + "kernel/net/something.ko.xz": "packed, and nobody wants it",
	})
}

// changing is a device on which slot B, with another kernel, is pending.
func changing(t *testing.T, change ...func(*manifest.Manifest)) *device {
	d := updated(t, func(m *manifest.Manifest) {
		m.Kernel = otherKernel
		for _, fn := range change {
			fn(m)
		}
	})
	d.images[bootctl.SlotB] = withKernel(t)
	return d
}

// selectorFiles is what the selector's initramfs was unpacked to.
var selectorFiles = image{
	"init":                          "abinit",
	"bin/tool":                      "a tool",
	"bin/t":                         "-> tool",
	"etc/abupdate/modules":          "/lib/modules/6.1.0-test/old.ko\n",
	"etc/abupdate/modules.wanted":   "?virtio_blk\ndm_verity\n?overlay\n",
	"etc/abupdate/kernel":           recoverytest.Kernel + "\n",
	"etc/abupdate/initramfs.json":   "{}",
	"lib/modules/6.1.0-test/old.ko": "a module of the selector's kernel",
	"dev/":                          "", "sysroot/": "",
}

func selectorBoot(t *testing.T) func(*fakeSystem) {
	return func(f *fakeSystem) { selectorFiles.put(t, f.root) }
}

// unpack returns an archive's files: content, symlinks as "-> target",
// directories and nodes with a slash and a number.
func unpack(t *testing.T, archive []byte) image {
	t.Helper()
	got := image{}
	r := cpio.Newc.Reader(bytes.NewReader(archive))
	for {
		rec, err := r.ReadRecord()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		content := make([]byte, rec.FileSize)
		if _, err := rec.ReadAt(content, 0); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		switch rec.Mode & cpio.S_IFMT {
		case cpio.S_IFDIR:
			got[rec.Name+"/"] = ""
		case cpio.S_IFLNK:
			got[rec.Name] = "-> " + string(content)
		case cpio.S_IFCHR:
			got[rec.Name] = "a device"
		default:
			got[rec.Name] = string(content)
		}
	}
}

// second is the boot of the kernel that f went over to.
func (f *fakeSystem) second(set ...func(*fakeSystem)) *fakeSystem {
	f.t.Helper()
	if f.kexec == nil {
		f.t.Fatalf("no other kernel was started; log %q", f.log)
	}
	return f.device.boot(append([]func(*fakeSystem){func(g *fakeSystem) {
		g.release, g.line = otherKernel, f.kexec.line
		unpack(f.t.(*testing.T), f.kexec.initrd).put(f.t, g.root)
	}}, set...)...)
}

func TestOtherKernel(t *testing.T) {
	d := changing(t, func(m *manifest.Manifest) { m.Kargs = `quiet key="a b"` })
	d.cmdline = "console=ttyS0 panic=7 abupdate.menu=0 -- single"
	f := d.boot(selectorBoot(t))
	if f.kexec == nil {
		t.Fatalf("no other kernel was started; log %q", f.log)
	}
	if want := `console=ttyS0 panic=7 abupdate.menu=0 quiet key="a b" -- single`; f.kexec.line != want || f.kexec.kernel != "the other kernel" {
		t.Errorf("started %q with %q; want the slot's kernel with %q", f.kexec.kernel, f.kexec.line, want)
	}
	if f.did("mount overlay") || f.did("mount ext4") {
		t.Errorf("the selector went on with the slot: %q", f.calls)
	}
	const dir = "lib/modules/" + otherKernel + "/"
	got := unpack(t, f.kexec.initrd)
	pinned := got["etc/abupdate/pinned.json"]
	delete(got, "etc/abupdate/pinned.json")
	im := withKernel(t)
	want := image{
		"init": "abinit", "bin/": "", "bin/tool": "a tool", "bin/t": "-> tool",
		"etc/": "", "etc/abupdate/": "", "etc/abupdate/initramfs.json": "{}", "etc/abupdate/kernel": otherKernel + "\n",
		"etc/abupdate/kargs": `quiet key="a b"` + "\n", "etc/abupdate/modules.wanted": selectorFiles["etc/abupdate/modules.wanted"],
		"etc/abupdate/modules": "/" + dir + "kernel/md/dm-mod.ko\n/" + dir + "kernel/md/dm-verity.ko\n?/" + dir + "kernel/fs/overlay.ko\n",
		"dev/":                 "", "dev/console": "a device", "dev/null": "a device", "proc/": "", "run/": "", "sys/": "", "sysroot/": "",
		"lib/": "", "lib/modules/": "", dir: "", dir + "kernel/": "", dir + "kernel/md/": "", dir + "kernel/fs/": "",
		dir + "kernel/md/dm-mod.ko":    im["usr/"+dir+"kernel/md/dm-mod.ko"],
		dir + "kernel/md/dm-verity.ko": im["usr/"+dir+"kernel/md/dm-verity.ko"],
		dir + "kernel/fs/overlay.ko":   im["usr/"+dir+"kernel/fs/overlay.ko"],
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("initramfs of the other kernel (-want +got):\n%s", diff)
	}
	if !strings.Contains(pinned, `"slot":"b"`) || !strings.Contains(pinned, `"try":1`) {
		t.Errorf("pin = %s; want slot b, try 1", pinned)
	}
}

// Modules that are compressed in the slot are plain in the other kernel's
// initramfs, which has nothing to read them with.
func TestOtherKernelPacked(t *testing.T) {
	d := changing(t)
	im := withKernel(t)
	const dir = "usr/lib/modules/" + otherKernel + "/kernel/"
	verity, overlay := im[dir+"md/dm-verity.ko"], im[dir+"fs/overlay.ko"]
	d.images[bootctl.SlotB] = im.with(image{
		dir + "md/dm-verity.ko": "gone", dir + "md/dm-verity.ko.xz": packXZ(t, verity),
		dir + "fs/overlay.ko": "gone", dir + "fs/overlay.ko.zst": packZstd(t, overlay),
	})
	f := d.boot(selectorBoot(t))
	if f.kexec == nil {
		t.Fatalf("no other kernel was started; log %q", f.log)
	}
	got := unpack(t, f.kexec.initrd)
	for name, want := range map[string]string{"md/dm-verity.ko": verity, "fs/overlay.ko": overlay} {
		name = "lib/modules/" + otherKernel + "/kernel/" + name
		if got[name] != want || !strings.Contains(got["etc/abupdate/modules"], "/"+name+"\n") {
			t.Errorf("%s has %d bytes, in the list %q; want the %d that were compressed, listed", name, len(got[name]), got["etc/abupdate/modules"], len(want))
		}
	}
}

func packXZ(t *testing.T, content string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.WriterConfig{CheckSum: xz.CRC32}.NewWriter(&b)
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func packZstd(t *testing.T, content string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(w.EncodeAll([]byte(content), nil))
}

// The second kernel carries out what the selector chose: nothing is counted
// twice, no third kernel is started, no menu is shown.
func TestSecondKernel(t *testing.T) {
	d := changing(t)
	f := d.boot(selectorBoot(t))
	before := d.state()
	g := f.second(func(g *fakeSystem) {
		g.console.Keys = "m"
		image{"etc/abupdate/etc": ""}.put(t, g.root)
	})
	if g.switched == nil || g.booting != bootctl.SlotB || g.did("kernel ") {
		t.Fatalf("slot %v, calls %q; want slot b and its init", g.booting, g.calls)
	}
	after := d.state()
	after.MakingVar = before.MakingVar
	if !after.Equal(before) || after.Slot(bootctl.SlotB).TriesLeft != bootctl.DefaultTries-1 {
		t.Errorf("state after the second kernel = %+v; want that of before, one try taken off: %+v", after, before)
	}
	if !g.did("module /lib/modules/" + otherKernel + "/kernel/md/dm-verity.ko") {
		t.Errorf("calls %q; want the other kernel's modules loaded", g.calls)
	}
	var booted bootctl.Booted
	if err := json.Unmarshal([]byte(g.read("run/abupdate/boot.json")), &booted); err != nil {
		t.Fatal(err)
	}
	if booted.Slot != bootctl.SlotB || booted.Try != 1 || booted.Kernel != otherKernel || booted.Selector != recoverytest.Kernel || !booted.Kexec {
		t.Errorf("boot.json = %+v; want slot b, try 1, both kernels", booted)
	}
}

// What goes wrong in the second kernel is held against the slot, once.
func TestSecondKernelFails(t *testing.T) {
	d := changing(t)
	d.boot(selectorBoot(t)).second(func(g *fakeSystem) { g.fail["mount overlay"] = errors.New("no such device") })
	if b := d.slot(bootctl.SlotB); b.TriesLeft != bootctl.DefaultTries-1 {
		t.Errorf("slot b = %+v; want one try taken off", b)
	}
	f := d.boot(selectorBoot(t))
	if b := d.slot(bootctl.SlotB); b.FailedBoots != 1 || !strings.Contains(b.LastFailure, "no such device") {
		t.Errorf("slot b at the next boot = %+v; want one failed boot and why", b)
	}
	g := f.second(func(g *fakeSystem) { g.release = "6.9.1" })
	if g.kexec != nil || g.restarted != recovery.Reboot || !g.said("starting it started 6.9.1") {
		t.Errorf("with a kernel that calls itself another: %v, log %q; want a reboot, not a third kernel", g.restarted, g.log)
	}
}

// Where the disk lost what the selector had saved, the choice is made and
// counted again.
func TestSecondKernelFindsAnotherState(t *testing.T) {
	d := changing(t)
	f := d.boot(selectorBoot(t))
	save(d, d.state().Stage(bootctl.SlotB, d.state().Slots[1].Info()))
	g := f.second()
	if g.booting != bootctl.SlotB || d.slot(bootctl.SlotB).TriesLeft != bootctl.DefaultTries-1 || !g.said("choosing again") {
		t.Errorf("slot %v, state %+v, log %q; want b chosen and counted", g.booting, d.slot(bootctl.SlotB), g.log)
	}
}

// When every try of the other kernel fails, the old one runs, with nothing
// else started.
func TestOtherKernelFallsBack(t *testing.T) {
	for _, tt := range []struct {
		name   string
		image  image
		change func(*fakeSystem)
		reason string
	}{
		{"the kernel refuses it", nil, func(f *fakeSystem) { f.fail["kernel "] = errors.New("not signed") }, "starting its kernel 6.9.0: not signed"},
		{"it does not start", nil, func(f *fakeSystem) { f.fail["kexec"] = errors.New("busy") }, "starting its kernel 6.9.0: busy"},
		{"it hangs or panics", nil, func(*fakeSystem) {}, "not confirmed"},
		{"no modules", image{"usr/lib/modules/" + otherKernel + "/kernel/md/dm-verity.ko": "gone"}, nil, "module dm_verity is neither"},
		{"a damaged module", image{"usr/lib/modules/" + otherKernel + "/kernel/md/dm-verity.ko": "gone",
			"usr/lib/modules/" + otherKernel + "/kernel/md/dm-verity.ko.xz": "packed"}, nil, "reading module kernel/md/dm-verity.ko.xz"},
		{"no kernel", image{"usr/lib/modules/" + otherKernel + "/vmlinuz": "gone"}, nil, "there is none of"},
		{"no module folder", image{"usr/lib/modules/" + otherKernel: "gone"}, nil, "there is no /usr/lib/modules/6.9.0"},
		{"an initramfs without the list", nil, func(f *fakeSystem) {
			if err := os.Remove(filepath.Join(f.root, "etc/abupdate/modules.wanted")); err != nil {
				f.t.Fatal(err)
			}
		}, "reading which modules are wanted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := changing(t)
			d.images[bootctl.SlotB] = d.images[bootctl.SlotB].with(tt.image)
			if _, gone := tt.image["usr/lib/modules/"+otherKernel]; gone {
				d.images[bootctl.SlotB] = usual
			}
			for try := range bootctl.DefaultTries {
				f := d.boot(selectorBoot(t), func(f *fakeSystem) {
					if tt.change != nil {
						tt.change(f)
					}
				})
				if f.switched != nil || int(d.slot(bootctl.SlotB).TriesLeft) != bootctl.DefaultTries-1-try {
					t.Fatalf("try %d: switched to %q, slot b %+v; want a counted failure", try+1, f.switched, d.slot(bootctl.SlotB))
				}
			}
			f := d.boot(selectorBoot(t))
			if f.booting != bootctl.SlotA || f.switched == nil || !strings.Contains(d.state().Fallback, tt.reason) {
				t.Errorf("then slot %v, fallback %q; want a because of %q", f.booting, d.state().Fallback, tt.reason)
			}
		})
	}
}

// A slot with the same kernel is gone over to only when its command line is
// not the running one.
func TestKargs(t *testing.T) {
	for _, tt := range []struct {
		name           string
		line, selector string // the running line, and what of it the selector's image added
		slot           string // what the slot's image adds
		want           string // the new line; "" for no kexec
	}{
		{"nothing at all", "a=1 panic=5", "", "", ""},
		{"the selector's own", "a=1 panic=5 quiet", "quiet", "quiet", ""},
		{"there already, by hand", "a=1 quiet panic=5", "", "quiet", ""},
		{"new ones", "a=1 panic=5", "", "quiet b=2", "a=1 panic=5 quiet b=2"},
		{"others", "a=1 panic=5 quiet b=2", "quiet b=2", "b=3", "a=1 panic=5 b=3"},
		{"none any more", "a=1 panic=5 quiet", "quiet", "", "a=1 panic=5"},
		{"in the middle", "a=1 quiet panic=5", "quiet", "loud", "a=1 panic=5 loud"},
		{"no panic=", "a=1", "", "loud", "a=1 loud panic=5"},
		{"the slot's panic=", "a=1", "", "panic=1", "a=1 panic=1"},
		{"before the init's arguments", "a=1 panic=5 -- b=2", "", "b=2", "a=1 panic=5 b=2 -- b=2"},
		{"dashes in quotes", `a="x -- y" panic=5`, "", "b", `a="x -- y" panic=5 b`},
		{"dashes in a word", "a=x-- --b panic=5", "", "b", "a=x-- --b panic=5 b"},
		{"part of a word", "a=quiet panic=5", "quiet", "b", "a=quiet panic=5 b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := changing(t, func(m *manifest.Manifest) { m.Kernel, m.Kargs = otherKernel, tt.slot })
			d.cmdline = tt.line
			f := d.boot(selectorBoot(t), func(f *fakeSystem) {
				f.release = otherKernel
				f.console.NoInput = true
				image{"etc/abupdate/kargs": tt.selector + "\n"}.put(t, f.root)
			})
			got := ""
			if f.kexec != nil {
				got = f.kexec.line
			}
			if got != tt.want {
				t.Errorf("went over to the command line %q; want %q", got, tt.want)
			}
		})
	}
}

func TestCmdlineTooLong(t *testing.T) {
	d := changing(t, func(m *manifest.Manifest) { m.Kargs = strings.Repeat("k", 1000) })
	d.cmdline += " " + strings.Repeat("c", 1100)
	if f := d.boot(selectorBoot(t)); f.kexec != nil || !f.said("more than the 2047 that kernels take") {
		t.Errorf("log %q; want the command line refused", f.log)
	}
}

// A manifest that names no kernel: the only one that there is.
func TestUnnamedKernel(t *testing.T) {
	d := changing(t, func(m *manifest.Manifest) { m.Kernel = "" })
	if f := d.boot(selectorBoot(t)); f.kexec == nil {
		t.Errorf("log %q; want the only kernel of the image started", f.log)
	}
	d.images[bootctl.SlotB] = withKernel(t).with(image{"usr/lib/modules/6.8.0/": ""})
	if f := d.boot(selectorBoot(t)); f.kexec != nil || !f.said("it has modules of 6.8.0, 6.9.0 and names no kernel") {
		t.Errorf("log %q; want no guess between two kernels", f.log)
	}
}

// A choice that could not be saved is carried out as well: of a good slot, or
// in recovery by a person.
func TestOtherKernelWithoutState(t *testing.T) {
	good := func(t *testing.T) *device {
		d := changing(t)
		s := d.state()
		s.Slots[1].Status = bootctl.Good
		save(d, s)
		return d
	}
	t.Run("a good slot", func(t *testing.T) {
		d := good(t)
		if err := putSuperblock(section(d, partitions.LabelVar), "ext4"); err != nil {
			t.Fatal(err)
		}
		d.dev = blockdevtest.Inject(d.dev, blockdevtest.Faults{Write: 1, Onwards: true})
		g := d.boot(selectorBoot(t)).second()
		if g.switched == nil || g.booting != bootctl.SlotB {
			t.Errorf("slot %v, log %q; want the good slot b", g.booting, g.log)
		}
	})
	t.Run("a good slot that fails", func(t *testing.T) {
		d := good(t)
		d.dev = blockdevtest.Inject(d.dev, blockdevtest.Faults{Write: 1, Onwards: true})
		g := d.boot(selectorBoot(t)).second(func(f *fakeSystem) { f.console.Keys = "6\r" })
		if g.switched != nil || g.restarted != recovery.PowerOff {
			t.Errorf("slot %v, restarted %v, log %q; want recovery", g.booting, g.restarted, g.log)
		}
	})
}

var _ initramfs.System = (*fakeSystem)(nil)
