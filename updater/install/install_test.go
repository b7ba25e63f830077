package install_test

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/initramfs/build"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/install"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// bootable adds what the initramfs wants: every module is built in. More files
// are given as path and content.
func bootable(im ut.Image, files ...string) ut.Image {
	release := im.Kernel
	if release == "" {
		release = ut.Kernel
	}
	var builtin strings.Builder
	for _, name := range build.DefaultModules() {
		builtin.WriteString("kernel/" + strings.TrimPrefix(name, "?") + ".ko\n")
	}
	im.Files = map[string]string{"usr/lib/modules/" + release + "/modules.builtin": builtin.String()}
	for i := 0; i < len(files); i += 2 {
		im.Files[files[i]] = files[i+1]
	}
	return im
}

// inBoot has its kernel where Debian puts it.
func inBoot(im ut.Image) ut.Image {
	im.Kernel = ut.NoKernel
	im.Files["boot/vmlinuz-"+ut.Kernel] = "kernel " + ut.Kernel
	return im
}

var images, removeImages = ut.Shared(map[string]ut.Image{
	"v1":     bootable(ut.Image{Version: "1.0", Noise: 200_000}),
	"golden": bootable(ut.Image{Version: "0.9", Noise: 100_000}),
	"kernel": bootable(ut.Image{Version: "2.0", Kernel: "6.9.9"}),
	"kargs":  bootable(ut.Image{Version: "1.0"}, "usr/lib/abupdate/kargs.d/a.toml", "kargs = ['quiet']\n"),
	"large":  bootable(ut.Image{Version: "2.0", Noise: 3 << 20}),
	"boot":   inBoot(bootable(ut.Image{Version: "1.0"})),
	"none":   {Version: "1.0", Kernel: ut.NoKernel},
	"arm64":  bootable(ut.Image{Version: "1.0", Arch: "arm64"}),
})

func TestMain(m *testing.M) {
	code := m.Run()
	removeImages()
	os.Exit(code)
}

// options are small, and have an init that nothing runs.
func options(t *testing.T, dir, tag string) install.Options {
	t.Helper()
	init := filepath.Join(t.TempDir(), "abinit")
	if err := os.WriteFile(init, program(t, elf.EM_X86_64), 0o755); err != nil {
		t.Fatal(err)
	}
	const stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
	if _, err := os.Stat(stub); err != nil {
		t.Fatalf("%v: install the Debian package systemd-boot-efi", err)
	}
	return install.Options{
		Ref: "oci:" + dir + ":" + tag, SlotSize: disk.MinSlot,
		Boot:   install.BootOptions{Init: init, Stub: stub},
		Source: updater.SourceOptions{},
	}
}

// program is the header of a program that nothing runs; segments name what
// the kernel is to do with it.
func program(t *testing.T, machine elf.Machine, segments ...elf.ProgType) []byte {
	t.Helper()
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Ehsize: 64, Phentsize: 56, Phnum: uint16(len(segments)), Shentsize: 64,
	}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	if len(segments) > 0 {
		h.Phoff = 64
	}
	var b bytes.Buffer
	err := binary.Write(&b, binary.LittleEndian, h)
	for _, kind := range segments {
		err = errors.Join(err, binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(kind)}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// onDisk is what a test looks at.
type onDisk struct {
	slots map[string]string // version of each intact slot
	state bootctl.State
	disk  *partitions.Disk
	dev   *blockdev.File
}

func read(t *testing.T, path string) onDisk {
	t.Helper()
	dev, err := blockdev.Open(path, blockdev.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	d, err := partitions.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	sys, err := updater.New(dev, nil)
	if err != nil {
		t.Fatal(err)
	}
	found, err := sys.Verify(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	slots := make(map[string]string)
	for _, v := range found {
		if v.State == updater.Intact {
			slots[v.Slot.String()] = v.Version
		}
	}
	return onDisk{slots: slots, state: ut.State(t, dev), disk: d, dev: dev}
}

func TestImage(t *testing.T) {
	dir := images(t)
	for _, tt := range []struct {
		name  string
		edit  func(*install.Options)
		slots map[string]string
		good  []bootctl.Slot
	}{
		{"as it is", func(*install.Options) {}, map[string]string{"a": "1.0", "recovery": "1.0"}, []bootctl.Slot{bootctl.SlotA}},
		{"no recovery", func(o *install.Options) { o.Recovery = "none" }, map[string]string{"a": "1.0"}, []bootctl.Slot{bootctl.SlotA}},
		{"both slots", func(o *install.Options) { o.BothSlots = true },
			map[string]string{"a": "1.0", "b": "1.0", "recovery": "1.0"}, []bootctl.Slot{bootctl.SlotA, bootctl.SlotB}},
		{"another golden image", func(o *install.Options) { o.Recovery = "oci:" + dir + ":golden" },
			map[string]string{"a": "1.0", "recovery": "0.9"}, []bootctl.Slot{bootctl.SlotA}},
		{"default slots", func(o *install.Options) { o.SlotSize = 0 }, map[string]string{"a": "1.0", "recovery": "1.0"}, []bootctl.Slot{bootctl.SlotA}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt := options(t, dir, "v1")
			tt.edit(&opt)
			path := filepath.Join(t.TempDir(), "disk.raw")
			made, err := install.Image(t.Context(), opt, path, install.FormatRaw)
			if err != nil {
				t.Fatal(err)
			}
			got := read(t, path)
			if diff := cmp.Diff(tt.slots, got.slots); diff != "" {
				t.Errorf("intact slots (-want +got):\n%s", diff)
			}
			for _, slot := range tt.good {
				if e := got.state.Slot(slot); e.Status != bootctl.Good || e.Version != "1.0" || e.RootHash != made.RootHash || e.Image != opt.Ref {
					t.Errorf("slot %v is %+v; want it good with version 1.0", slot, e)
				}
			}
			if next := got.state.Active(); next != bootctl.SlotA {
				t.Errorf("slot %v boots next; want a", next)
			}
			out, err := exec.Command("sgdisk", "-v", path).CombinedOutput()
			if errors.Is(err, exec.ErrNotFound) {
				t.Fatal("sgdisk is missing: install the Debian package gdisk")
			}
			if err != nil || !strings.Contains(string(out), "No problems found") {
				t.Errorf("sgdisk -v: %v\n%s", err, out)
			}
			if left := names(t, filepath.Dir(path)); len(left) != 1 {
				t.Errorf("beside the disk there is %v", left)
			}
		})
	}
}

// readSelector reads the UKI from the ESP.
func readSelector(t *testing.T, d onDisk) build.UKIOptions {
	t.Helper()
	loader, err := disk.ReadESP(d.disk, updater.LoaderPath("amd64"))
	if err != nil {
		t.Fatal(err)
	}
	uki, err := build.ReadUKI(bytes.NewReader(loader))
	if err != nil {
		t.Fatal(err)
	}
	return uki
}

func TestImageSelector(t *testing.T) {
	dir := images(t)
	opt := options(t, dir, "v1")
	opt.Boot.Append = []string{"abupdate.debug", "nokaslr"}
	opt.Boot.Export = filepath.Join(t.TempDir(), "boot")
	path := filepath.Join(t.TempDir(), "disk.raw")
	made, err := install.Image(t.Context(), opt, path, install.FormatRaw)
	if err != nil {
		t.Fatal(err)
	}
	d := read(t, path)
	uki := readSelector(t, d)
	wantLine := "console=tty0 console=ttyS0 panic=5 abupdate.disk=" + d.disk.StatePartition().GUID + " abupdate.debug nokaslr"
	if uki.Uname != ut.Kernel || string(uki.Linux) != "kernel "+ut.Kernel || uki.Cmdline != wantLine || made.Cmdline != wantLine {
		t.Errorf("UKI has uname %q, kernel %q, command line %q; want that of the image and %q", uki.Uname, uki.Linux, uki.Cmdline, wantLine)
	}
	want := map[string]string{
		install.KernelFile: string(uki.Linux), install.InitramfsFile: string(uki.Initrd), install.CmdlineFile: wantLine + "\n",
	}
	got := make(map[string]string)
	for _, name := range names(t, opt.Boot.Export) {
		b, err := os.ReadFile(filepath.Join(opt.Boot.Export, name))
		if err != nil {
			t.Fatal(err)
		}
		got[name] = string(b)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("exported files (-want +got):\n%s", diff)
	}
}

// The selector on the ESP says that it starts other kernels, so that an
// update may bring one.
func TestApplyKnowsTheSelector(t *testing.T) {
	dir := images(t)
	path := filepath.Join(t.TempDir(), "disk.raw")
	if _, err := install.Image(t.Context(), options(t, dir, "v1"), path, install.FormatRaw); err != nil {
		t.Fatal(err)
	}
	sys, err := updater.Open(updater.OpenOptions{Disk: path, Access: updater.Change})
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	st, err := sys.Status()
	if want := (updater.Selector{Version: "1.0", Kernel: ut.Kernel, Kexec: true}); err != nil || st.Selector == nil || *st.Selector != want {
		t.Errorf("selector in status = %+v, %v; want %+v", st.Selector, err, want)
	}
	if made, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: "oci:" + dir + ":kernel"}); err != nil || made.Kernel != "6.9.9" {
		t.Errorf("Apply() = %+v, %v; want an update with another kernel", made, err)
	}
}

// What the image adds to the command line is on it, and the initramfs knows
// which words these are.
func TestImageWithKargs(t *testing.T) {
	dir := images(t)
	path := filepath.Join(t.TempDir(), "disk.raw")
	opt := options(t, dir, "kargs")
	opt.Boot.Append = []string{"mine"}
	made, err := install.Image(t.Context(), opt, path, install.FormatRaw)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(made.Cmdline, " mine quiet") || made.Kargs != "quiet" {
		t.Errorf("command line %q, kargs %q; want the image's after mine", made.Cmdline, made.Kargs)
	}
	raw := readSelector(t, read(t, path))
	zr, err := zstd.NewReader(bytes.NewReader(raw.Initrd))
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	cpio, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(cpio, []byte("etc/abupdate/kargs\x00")) || raw.Cmdline != made.Cmdline {
		t.Errorf("the initramfs has no list of the image's words, or the UKI has the command line %q", raw.Cmdline)
	}
}

func TestImageAsQcow2(t *testing.T) {
	opt := options(t, images(t), "v1")
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	if _, err := install.Image(t.Context(), opt, path, install.FormatQcow2); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("qemu-img", "check", "-f", "qcow2", path).CombinedOutput()
	if err != nil {
		t.Errorf("qemu-img check (Debian package qemu-utils): %v\n%s", err, out)
	}
	if left := names(t, filepath.Dir(path)); len(left) != 1 {
		t.Errorf("beside the disk there is %v", left)
	}
}

// What goes wrong leaves no half disk, and an older file as it was.
func TestImageFails(t *testing.T) {
	dir := images(t)
	init := func(content []byte) func(*install.Options) {
		return func(o *install.Options) {
			o.Boot.Init = filepath.Join(t.TempDir(), "init")
			if err := os.WriteFile(o.Boot.Init, content, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		tag    string
		edit   func(*install.Options)
		format string
		kind   fault.Kind
		says   string
	}{
		{name: "slots too small", tag: "large", kind: fault.NoRoom, says: "slot a"},
		{name: "disk too small", edit: func(o *install.Options) { o.Size = 60 * disk.MiB }, kind: fault.NoRoom, says: "disk"},
		{name: "recovery image too large", edit: func(o *install.Options) { o.Recovery = "oci:" + dir + ":large" }, kind: fault.NoRoom, says: "recovery"},
		{name: "recovery image with another kernel", edit: func(o *install.Options) { o.Recovery = "oci:" + dir + ":kernel" }, kind: fault.Refused, says: "6.9.9"},
		{name: "no such recovery image", edit: func(o *install.Options) { o.Recovery = "oci:" + dir + ":nope" }, kind: fault.Usage, says: "nope"},
		{name: "no kernel", tag: "none", kind: fault.Usage, says: "no kernel"},
		{name: "no init", edit: func(o *install.Options) { o.Boot.Init = "/nonexistent" }, kind: fault.Usage, says: "/nonexistent"},
		{name: "init is no program", edit: init([]byte("#!/bin/sh\n")), kind: fault.Usage, says: "it is not a program"},
		{name: "init is empty", edit: init(nil), kind: fault.Usage, says: "it is not a program"},
		{name: "init is a folder", edit: func(o *install.Options) { o.Boot.Init = "/" }, kind: fault.Usage, says: "is a directory"},
		{name: "init is for something else", edit: init(program(t, elf.EM_AARCH64)), kind: fault.Usage, says: "it is for EM_AARCH64"},
		{name: "init wants a loader", edit: init(program(t, elf.EM_X86_64, elf.PT_LOAD, elf.PT_INTERP)), kind: fault.Usage, says: "it is not statically linked"},
		{name: "no stub", edit: func(o *install.Options) { o.Boot.Stub = "/nonexistent" }, kind: fault.Usage, says: "systemd-boot-efi"},
		{name: "not a stub", edit: func(o *install.Options) { o.Boot.Stub = o.Boot.Init }, kind: fault.Usage, says: "UKI"},
		{name: "unknown format", format: "vmdk", kind: fault.Usage, says: "vmdk"},
		{name: "no such layout file", edit: func(o *install.Options) { o.Layout = "/nonexistent" }, kind: fault.Usage, says: "/nonexistent"},
		{name: "no such image", tag: "v9", kind: fault.Usage, says: "v9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.tag == "" {
				tt.tag = "v1"
			}
			if tt.format == "" {
				tt.format = install.FormatRaw
			}
			opt := options(t, dir, tt.tag)
			if tt.edit != nil {
				tt.edit(&opt)
			}
			path := filepath.Join(t.TempDir(), "disk.raw")
			if err := os.WriteFile(path, []byte("older"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := install.Image(t.Context(), opt, path, tt.format)
			if err == nil || fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Image() = %v (kind %d); want kind %d and %q", err, fault.KindOf(err), tt.kind, tt.says)
			}
			left, _ := os.ReadFile(path)
			if string(left) != "older" || len(names(t, filepath.Dir(path))) != 1 {
				t.Errorf("left behind: %.20q, %v", left, names(t, filepath.Dir(path)))
			}
		})
	}
}

func TestImageCanceled(t *testing.T) {
	opt := options(t, images(t), "v1")
	for _, step := range []updater.Step{updater.StepWrite, updater.StepReadBack, updater.StepCopy} {
		ctx, cancel := context.WithCancel(t.Context())
		opt.Progress = func(e updater.Event) {
			if e.Step == step {
				cancel()
			}
		}
		path := filepath.Join(t.TempDir(), "disk.raw")
		if _, err := install.Image(ctx, opt, path, install.FormatRaw); fault.KindOf(err) != fault.Canceled {
			t.Errorf("%s: Image() = %v; want it canceled", step, err)
		}
		if left := names(t, filepath.Dir(path)); len(left) != 0 {
			t.Errorf("%s: left behind: %v", step, left)
		}
		cancel()
	}
}

func TestDevice(t *testing.T) {
	dir := images(t)
	for _, tt := range []struct {
		name string
		size disk.Size
		slot disk.Size // wanted; 0: it does not fit
	}{
		{"room for the default slots", 1 * disk.GiB, 64 * disk.MiB},
		{"the slots share what there is", 450 * disk.MiB, 21 * disk.MiB},
		{"too small for anything", 100 * disk.MiB, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "device")
			if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, int64(tt.size))); err != nil {
				t.Fatal(err)
			}
			opt := options(t, dir, "v1")
			opt.SlotSize = 0
			made, err := install.Device(t.Context(), opt, path)
			if tt.slot == 0 {
				if fault.KindOf(err) != fault.NoRoom {
					t.Errorf("Device() = %v; want kind %d", err, fault.NoRoom)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if made.SlotBytes != int64(tt.slot) || made.DiskBytes != int64(tt.size) {
				t.Errorf("slots of %d bytes on a disk of %d; want %d on %d", made.SlotBytes, made.DiskBytes, tt.slot, tt.size)
			}
			if got := read(t, path).slots["a"]; got != "1.0" {
				t.Errorf("slot a holds %q; want 1.0", got)
			}
		})
	}
}

func TestDeviceInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<30)); err != nil {
		t.Fatal(err)
	}
	held, err := blockdev.Open(path, blockdev.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if _, err := install.Device(t.Context(), options(t, images(t), "v1"), path); fault.KindOf(err) != fault.Busy {
		t.Errorf("Device() = %v; want kind %d", err, fault.Busy)
	}
	if _, err := install.Device(t.Context(), options(t, images(t), "v1"), path+".none"); !errors.Is(err, fs.ErrNotExist) || fault.KindOf(err) != fault.Usage {
		t.Errorf("Device() of nothing = %v; want kind %d", err, fault.Usage)
	}
}

func TestLayoutFile(t *testing.T) {
	dir := images(t)
	file := filepath.Join(t.TempDir(), "layout.toml")
	text := "esp = \"48M\"\nslot = \"5M\"\nrecovery = \"6M\"\nvar = \"20M\"\n[[extra]]\nlabel = \"data\"\nsize = \"3M\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	opt := options(t, dir, "v1")
	opt.SlotSize, opt.Layout = 0, file
	path := filepath.Join(t.TempDir(), "disk.raw")
	if _, err := install.Image(t.Context(), opt, path, install.FormatRaw); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int64)
	for _, p := range read(t, path).disk.Partitions() {
		got[p.Label] = p.Size >> 20
	}
	want := map[string]int64{"esp": 48, "abstate": 1, "root-a": 5, "root-b": 5, "recovery": 6, "data": 3, "var": 20}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("partitions in MiB (-want +got):\n%s", diff)
	}
}

// A layout file that says nothing of slots or recovery leaves them to the
// image, or to the slots.
func TestLayoutFileInPart(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		edit       func(*install.Options)
		want       map[string]int64 // in MiB
	}{
		{"no slots", "esp = \"64M\"\n", func(*install.Options) {}, map[string]int64{"esp": 64, "root-a": 64, "recovery": 64}},
		{"no recovery", "slot = \"7M\"\n", func(*install.Options) {}, map[string]int64{"esp": 128, "root-a": 7, "recovery": 7}},
		{"recovery alone", "recovery = \"9M\"\n", func(*install.Options) {}, map[string]int64{"esp": 128, "root-a": 64, "recovery": 9}},
		{"recovery as small as can be", "recovery = \"2M\"\n", func(*install.Options) {}, map[string]int64{"esp": 128, "root-a": 64, "recovery": 2}},
		{"the flag before the file", "slot = \"7M\"\n", func(o *install.Options) { o.SlotSize = 5 * disk.MiB }, map[string]int64{"esp": 128, "root-a": 5, "recovery": 5}},
		{"none by the flag", "recovery = \"9M\"\n", func(o *install.Options) { o.Recovery = "none" }, map[string]int64{"esp": 128, "root-a": 64}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt := options(t, images(t), "v1")
			opt.SlotSize, opt.Layout = 0, filepath.Join(t.TempDir(), "layout.toml")
			if err := os.WriteFile(opt.Layout, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			tt.edit(&opt)
			path := filepath.Join(t.TempDir(), "disk.raw")
			if _, err := install.Image(t.Context(), opt, path, install.FormatRaw); err != nil {
				t.Fatal(err)
			}
			d := read(t, path)
			got := make(map[string]int64)
			for _, p := range d.disk.Partitions() {
				if _, ok := tt.want[p.Label]; ok || p.Label == "recovery" {
					got[p.Label] = p.Size >> 20
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("partitions in MiB (-want +got):\n%s", diff)
			}
			if d.slots["a"] != "1.0" {
				t.Errorf("intact slots are %v; want a", d.slots)
			}
		})
	}
}

// One image, the same root hash by whatever way it gets into a slot.
func TestSameRootHash(t *testing.T) {
	dir, work := images(t), t.TempDir()
	ref := "oci:" + dir + ":v1"
	hashes := make(map[string]string)
	for name, opt := range map[string]updater.BuildOptions{
		"build --raw":        {Raw: filepath.Join(work, "raw")},
		"build -o":           {Dir: filepath.Join(work, "out")},
		"build --raw and -o": {Raw: filepath.Join(work, "raw2"), Dir: filepath.Join(work, "out2")},
	} {
		opt.Ref = ref
		built, err := updater.Build(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		hashes[name] = built.RootHash
	}
	for name, edit := range map[string]func(*install.Options){
		"image":                   func(o *install.Options) { o.SlotSize = 0 },
		"image with --slot-size":  func(*install.Options) {},
		"image with --both-slots": func(o *install.Options) { o.BothSlots = true },
	} {
		opt := options(t, dir, "v1")
		edit(&opt)
		made, err := install.Image(t.Context(), opt, filepath.Join(t.TempDir(), "disk.raw"), install.FormatRaw)
		if err != nil {
			t.Fatal(err)
		}
		hashes[name] = made.RootHash
	}
	device := filepath.Join(work, "device")
	if err := errors.Join(os.WriteFile(device, bytes.Repeat([]byte{0xa5}, 1<<20), 0o600), os.Truncate(device, 1<<30)); err != nil {
		t.Fatal(err)
	}
	opt := options(t, dir, "v1")
	opt.SlotSize = 0
	made, err := install.Device(t.Context(), opt, device)
	if err != nil {
		t.Fatal(err)
	}
	hashes["install"] = made.RootHash
	for name, from := range map[string]string{"apply IMAGE": ref, "apply UPDATE": "oci:" + filepath.Join(work, "out")} {
		sys, err := updater.Open(updater.OpenOptions{Disk: ut.EmptyDisk(t), Access: updater.Change})
		if err != nil {
			t.Fatal(err)
		}
		defer sys.Close()
		got, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: from})
		if err != nil {
			t.Fatal(err)
		}
		hashes[name] = got.RootHash
	}
	for name, hash := range hashes {
		if hash != hashes["build -o"] || hash == "" {
			t.Errorf("%s has root hash %q; build -o has %q", name, hash, hashes["build -o"])
		}
	}
}

func TestInitramfs(t *testing.T) {
	base := options(t, images(t), "v1")
	opt := install.InitramfsOptions{Ref: base.Ref, Boot: base.Boot, Source: base.Source}
	opt.Boot.Append = []string{"console=ttyS0"}
	var first []byte
	for range 2 {
		dir := t.TempDir()
		opt.Output, opt.UKI = filepath.Join(dir, "initramfs.img"), filepath.Join(dir, "selector.efi")
		made, err := install.Initramfs(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		img, err := os.ReadFile(opt.Output)
		if err != nil {
			t.Fatal(err)
		}
		loader, err := os.ReadFile(opt.UKI)
		if err != nil {
			t.Fatal(err)
		}
		uki, err := build.ReadUKI(bytes.NewReader(loader))
		if err != nil || !bytes.Equal(uki.Initrd, img) || uki.Cmdline != "console=ttyS0" || uki.Uname != ut.Kernel || made.Kernel != ut.Kernel {
			t.Errorf("UKI = %+v, %v; want that initramfs, command line and kernel", uki, err)
		}
		if first != nil && !bytes.Equal(first, img) {
			t.Error("the initramfs is different the second time")
		}
		first = img
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// The kernel of an update is found where it would be in an image.
func TestKernelOfAnUpdate(t *testing.T) {
	dir := images(t)
	for _, tag := range []string{"v1", "boot"} {
		updates := filepath.Join(t.TempDir(), "updates")
		if _, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + dir + ":" + tag, Dir: updates}); err != nil {
			t.Fatal(err)
		}
		for _, from := range []string{dir + ":" + tag, updates} {
			opt := options(t, dir, tag)
			opt.Ref, opt.Boot.Export = "oci:"+from, filepath.Join(t.TempDir(), "boot")
			if _, err := install.Image(t.Context(), opt, filepath.Join(t.TempDir(), "disk.raw"), install.FormatRaw); err != nil {
				t.Errorf("Image(%s) = %v", from, err)
				continue
			}
			if got, err := os.ReadFile(filepath.Join(opt.Boot.Export, install.KernelFile)); string(got) != "kernel "+ut.Kernel {
				t.Errorf("the kernel made of %s is %q, %v", from, got, err)
			}
		}
	}
}

// How large an update is is known before the device has lost what was on it.
func TestUpdateTooLargeForTheDevice(t *testing.T) {
	dir := images(t)
	updates := filepath.Join(t.TempDir(), "updates")
	if _, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + dir + ":large", Dir: updates}); err != nil {
		t.Fatal(err)
	}
	old := bytes.Repeat([]byte("what was there\n"), 1<<16)
	for _, tt := range []struct {
		name string
		edit func(*install.Options)
		says string
	}{
		{"the slots", func(*install.Options) {}, "slot a"},
		{"the recovery slot", func(o *install.Options) {
			o.SlotSize, o.Layout = 0, filepath.Join(t.TempDir(), "layout.toml")
			if err := os.WriteFile(o.Layout, []byte("esp = '40M'\nslot = '8M'\nrecovery = '2M'\nvar = '16M'\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "slot recovery"},
	} {
		device := filepath.Join(t.TempDir(), "device")
		if err := errors.Join(os.WriteFile(device, old, 0o600), os.Truncate(device, 512<<20)); err != nil {
			t.Fatal(err)
		}
		opt := options(t, dir, "large")
		opt.Ref = "oci:" + updates
		tt.edit(&opt)
		_, err := install.Device(t.Context(), opt, device)
		if fault.KindOf(err) != fault.NoRoom || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: Device() = %v; want an error of kind %d about %s", tt.name, err, fault.NoRoom, tt.says)
		}
		if now, _ := os.ReadFile(device); !bytes.HasPrefix(now, old) {
			t.Errorf("%s: the device was written to", tt.name)
		}
	}
}
