package initramfs

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/verity/dm"
)

// startSlot goes from a choice that was saved to the image's init.
func (b *boot) startSlot(choice bootctl.Choice) error {
	content, err := b.openSlot(choice.Slot)
	if err != nil {
		return fmt.Errorf("slot %v: %w", choice.Slot, err)
	}
	b.mark("slot")
	if err := b.mountRoot(choice.Slot, content); err != nil {
		return fmt.Errorf("slot %v: %w", choice.Slot, err)
	}
	b.mark("verity")
	if err := b.changeKernel(choice, content); err != nil {
		return fmt.Errorf("slot %v: %w", choice.Slot, err)
	}
	if err := b.mountOverlay(); err != nil {
		return err
	}
	b.mark("mounts")
	if err := b.setUpVar(content); err != nil {
		return err
	}
	b.mark("var")
	return b.handOver(choice, content)
}

// openSlot reads what the slot says of itself and checks it against what was
// staged and against this machine.
func (b *boot) openSlot(slot bootctl.Slot) (*partitions.SlotContent, error) {
	dev, err := b.layout.Slot(slot)
	if err != nil {
		return nil, err
	}
	c, err := partitions.ReadSlot(dev)
	if err != nil {
		return nil, err
	}
	if err := b.checkTrust(c); err != nil {
		return nil, err
	}
	m := c.Manifest
	if arch, _, _ := strings.Cut(m.Architecture, "/"); arch != runtime.GOARCH {
		return nil, fmt.Errorf("it is for %s, this machine is %s", m.Architecture, runtime.GOARCH)
	}
	if b.readOnly == "" {
		if want := b.state.Slot(slot).RootHash; want != "" && want != m.RootHash {
			return nil, fmt.Errorf("it has root hash %s, the boot state tells of %s", m.RootHash, want)
		}
	}
	return c, nil
}

// mountRoot maps the slot through dm-verity and mounts its squashfs.
func (b *boot) mountRoot(slot bootctl.Slot, c *partitions.SlotContent) error {
	part, err := b.layout.SlotPartition(slot)
	if err != nil {
		return err
	}
	salt, err := c.Manifest.SaltBytes()
	if err != nil {
		return err
	}
	node, err := b.sys.OpenVerity(dm.Target{
		Name: "abupdate-root", Device: part.Node(b.disk.Path),
		DataBlocks: c.Manifest.DataBlocks, HashOffset: c.Manifest.HashOffset,
		Salt: salt, RootHash: c.Footer.RootHash[:], RestartOnCorruption: true,
	})
	if err != nil {
		return fmt.Errorf("opening dm-verity: %w", err)
	}
	return b.mount(Mount{node, lowerDir, "squashfs", "", ReadOnly})
}

// mountOverlay puts a tmpfs of the stated size on the verified root, so that
// what is written at run time is forgotten.
func (b *boot) mountOverlay() error {
	if err := b.mount(Mount{"tmpfs", overlayDir, "tmpfs", "mode=0700,size=" + b.cmdline.Overlay, 0}); err != nil {
		return err
	}
	upper, work := overlayDir+"/upper", overlayDir+"/work"
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(b.path(dir), 0o755); err != nil {
			return err
		}
	}
	// The upper directory is what the new root's own mode and owner come from.
	if err := b.copyMeta(b.path(lowerDir), b.path(upper)); err != nil {
		return err
	}
	if err := b.mount(Mount{"overlay", newRoot, "overlay", "lowerdir=" + lowerDir + ",upperdir=" + upper + ",workdir=" + work, 0}); err != nil {
		return err
	}
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run", "/var", "/etc"} {
		if err := makeDir(b.path(newRoot), dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// mount makes the mount point and mounts there.
func (b *boot) mount(m Mount) error {
	if err := os.MkdirAll(b.path(m.Target), 0o755); err != nil {
		return err
	}
	if err := b.sys.Mount(m); err != nil {
		return fmt.Errorf("mounting %s (%s) on %s: %w", m.Source, m.Type, m.Target, err)
	}
	return nil
}

// initPaths are the inits that are looked for, in this order.
var initPaths = []string{"/sbin/init", "/lib/systemd/systemd", "/etc/init", "/bin/init"}

// DefaultPath is the PATH that the image's init starts with.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// handOver leaves word of what was booted, moves the pseudo file systems and
// runs the image's init.
func (b *boot) handOver(choice bootctl.Choice, c *partitions.SlotContent) error {
	init, err := b.findInit()
	if err != nil {
		return fmt.Errorf("slot %v: %w", choice.Slot, err)
	}
	booted := bootctl.Booted{
		Slot: choice.Slot, Disk: b.disk.Path, DiskGUID: b.layout.GUID(),
		Version: c.Manifest.Version, RootHash: c.Manifest.RootHash, Kernel: b.sys.Release(),
		StatePartition: b.layout.StatePartition().GUID, Try: choice.Try, Fallback: b.state.Fallback,
		Selector: b.selector(), Kexec: b.canKexec(), SignedOnly: b.signedOnly,
	}
	if err := booted.Write(b.path(bootctl.BootedPath)); err != nil {
		return err
	}
	b.sys.Log(false, fmt.Sprintf("slot %v (%s), %s; %s after %v", choice.Slot, c.Manifest.Version, choice.Reason,
		init, b.sys.Uptime().Round(time.Millisecond)))
	b.setKernel("printk_devkmsg", "ratelimit")
	b.sys.Alive()
	b.mark("switch")
	b.leaveWatchdog()
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run"} {
		target, err := resolve(b.path(newRoot), dir)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(b.sys.Root(), target)
		if err != nil {
			return err
		}
		if err := b.sys.Mount(Mount{Source: dir, Target: "/" + rel, Flags: Move}); err != nil {
			return fmt.Errorf("moving %s into the new root: %w", dir, err)
		}
	}
	return b.sys.SwitchRoot(newRoot, init, b.sys.Args(), environ(b.sys.Environ()))
}

// findInit returns the image's init: that of the command line, if it names one.
func (b *boot) findInit() (string, error) {
	if want := b.cmdline.Init; want != "" {
		init := findProgram(b.path(newRoot), want)
		if init == "" {
			return "", fmt.Errorf("init=%s is not a program in the image", want)
		}
		return init, nil
	}
	init := findProgram(b.path(newRoot), initPaths...)
	if init == "" {
		return "", fmt.Errorf("the image has no init: none of %s", strings.Join(initPaths, ", "))
	}
	return init, nil
}

// environ is what the kernel gave this process, as it would have given it to
// the init itself: HOME, TERM and the command line's words with a value that
// nobody else understood. PATH is added where it is missing.
func environ(env []string) []string {
	defaults := []string{"HOME=/", "TERM=linux", "PATH=" + DefaultPath}
	out := append([]string(nil), env...)
	for _, d := range defaults {
		name, _, _ := strings.Cut(d, "=")
		found := false
		for _, e := range env {
			found = found || strings.HasPrefix(e, name+"=")
		}
		if !found {
			out = append(out, d)
		}
	}
	return out
}
