package install

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/initramfs/build"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/compose"
)

// bootFiles are what starts a system.
type bootFiles struct {
	kernel, initramfs []byte
	uki               []byte // nil: none
	info              build.Info
	cmdline           string
	kargs             string // of it, the words that the image adds
	arch              string
}

// Names of the files that BootOptions.Export makes.
const (
	KernelFile    = "vmlinuz"
	InitramfsFile = "initramfs.img"
	CmdlineFile   = "cmdline"
)

// bootFiles makes them from the kernel in slot A.
func (in *installer) bootFiles() (*bootFiles, error) {
	m := &in.made.Manifest
	sec, err := in.disk.Slot(bootctl.SlotA)
	if err != nil {
		return nil, err
	}
	content, err := partitions.ReadSlot(sec)
	if err != nil {
		return nil, err
	}
	image, err := content.Image(sec)
	if err != nil {
		return nil, err
	}
	root, err := openSquashfs(image)
	if err != nil {
		return nil, err
	}
	kernel, err := in.kernel(root)
	if err != nil {
		return nil, err
	}
	vmlinuz, err := fs.ReadFile(root, kernel.Path)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel from slot a: %w", err)
	}
	modules, err := fs.Sub(root, kernel.Modules)
	if err != nil {
		return nil, err
	}
	b := &bootFiles{kernel: vmlinuz, kargs: m.Kargs, cmdline: join(in.opt.Boot.cmdline(in.disk.StatePartition().GUID), m.Kargs), arch: m.Architecture}
	return b, b.build(in.tools, kernel.Release, build.FromFS(modules), osRelease(m))
}

// kernel finds the kernel in slot A, whose files root has.
func (in *installer) kernel(root fs.FS) (compose.Kernel, error) {
	if in.update != nil {
		return kernelIn(root, in.made.Manifest.Kernel)
	}
	return compose.FindKernel(in.made.Plan)
}

// build makes initramfs and UKI.
func (b *bootFiles) build(t tools, release string, modules build.ModuleSource, osRelease string) error {
	var buf bytes.Buffer
	var err error
	if b.info, err = build.Initramfs(&buf, build.Options{
		Init: t.init, Release: release, Source: modules, Kargs: b.kargs, Config: t.trust.config, Extra: t.trust.files,
	}); err != nil {
		return fmt.Errorf("making the initramfs: %w", err)
	}
	b.initramfs = buf.Bytes()
	if t.stub == nil {
		return nil
	}
	var uki bytes.Buffer
	err = build.UKI(&uki, t.stub, build.UKIOptions{
		Cmdline: b.cmdline, OSRelease: osRelease, Uname: release, Linux: b.kernel, Initrd: b.initramfs,
	})
	if errors.Is(err, build.ErrStub) {
		err = fault.Wrap(fault.Usage, err)
	}
	if err != nil {
		return fmt.Errorf("making the UKI: %w", err)
	}
	if b.uki = uki.Bytes(); t.signer == nil {
		return nil
	}
	var signed bytes.Buffer
	if err := t.signer.Sign(&signed, b.uki); err != nil {
		return fmt.Errorf("making the UKI: %w", err)
	}
	b.uki = signed.Bytes()
	return nil
}

// osRelease is what the UKI says of the system, for boot menus.
func osRelease(m *manifest.Manifest) string {
	return fmt.Sprintf("ID=abupdate\nPRETTY_NAME=%q\nVERSION_ID=%q\n%s\n",
		cmp.Or(m.Title, "abupdate"), m.Version, updater.SelectorKexec)
}

// cmdline is the kernel's command line for the disk with the given boot state
// partition.
func (opt BootOptions) cmdline(statePartition string) string {
	args := []string{"console=tty0", "console=ttyS0", "panic=5", "abupdate.disk=" + statePartition}
	if opt.Quiet {
		args = append(args, "quiet")
	}
	return strings.Join(append(args, opt.Append...), " ")
}

// join puts two parts of a command line together.
func join(a, b string) string { return strings.TrimSpace(a + " " + b) }

// writeBoot puts the selector on the ESP, and the parts of it where they are
// asked for.
func (in *installer) writeBoot(b *bootFiles) error {
	files := make(map[string][]byte)
	if b.uki != nil {
		files[updater.LoaderPath(b.arch)] = b.uki
	}
	if err := disk.WriteESP(in.disk, files); err != nil {
		return err
	}
	r := in.result
	r.Cmdline, r.InitramfsBytes, r.LoaderBytes = b.cmdline, int64(len(b.initramfs)), int64(len(b.uki))
	if in.opt.Boot.Export == "" {
		return nil
	}
	r.BootDir = in.opt.Boot.Export
	return b.export(in.opt.Boot.Export)
}

func (b *bootFiles) export(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("exporting the kernel: %w", err)
	}
	for name, content := range map[string][]byte{
		KernelFile: b.kernel, InitramfsFile: b.initramfs, CmdlineFile: []byte(b.cmdline + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o666); err != nil {
			return fmt.Errorf("exporting the kernel: %w", err)
		}
	}
	return nil
}
