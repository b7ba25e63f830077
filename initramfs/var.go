package initramfs

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery"
)

const (
	varDir      = newRoot + "/var"
	mkfsTimeout = 10 * time.Minute
	fsckTimeout = 30 * time.Minute
)

// growMin is what it takes to grow a file system: the last group of ext4
// needs some room for its own tables, or the kernel leaves it out.
const growMin = 16 << 20

// setUpVar brings up the persistent part: the var partition with its file
// system, what the image wants to find in it, what is kept there of other
// places, and the machine's ID.
func (b *boot) setUpVar(c *partitions.SlotContent) error {
	part, ok := b.layout.Partition(partitions.LabelVar)
	if !ok {
		b.sys.Log(false, "no var partition: /var is forgotten at reboot")
		return b.setMachineID(derivedID(b.layout.GUID(), b.hardwareID()))
	}
	part = b.growPartition(part)
	if err := b.mountVar(part); err != nil {
		return fmt.Errorf("/var: %w", err)
	}
	if err := b.fillVar(c.Manifest.RootHash, b.state.MakingVar); full(err) {
		b.sys.Log(true, "/var: "+err.Error())
	} else if err != nil {
		return fmt.Errorf("/var: %w", err)
	}
	if err := b.keepChanges(c.Manifest); err != nil {
		return err
	}
	id, err := b.storedMachineID()
	if full(err) {
		b.sys.Log(true, "/var: storing the machine ID: "+err.Error())
		id, err = derivedID(b.layout.GUID(), b.hardwareID()), nil
	}
	if err != nil {
		return fmt.Errorf("/var: %w", err)
	}
	if err := b.setMachineID(id); err != nil {
		return err
	}
	return b.varMade()
}

// full says that var takes no more. A device whose disk is full must boot all
// the same, or nobody could make room.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS)
}

// growPartition lets var end where the disk does. That it cannot is no reason
// not to boot.
func (b *boot) growPartition(part partitions.Partition) partitions.Partition {
	changed, err := partitions.GrowLast(b.disk.Dev)
	b.warn(err)
	if changed && err == nil {
		layout, err := partitions.Open(b.disk.Dev)
		if err != nil {
			b.warn(err)
			return part
		}
		b.layout = layout
		part, _ = layout.Partition(partitions.LabelVar)
	}
	// Also after a cut between the table and the kernel's word of it.
	if err := b.sys.ShowPartition(b.disk, part); err != nil {
		b.warn(fmt.Errorf("growing the var partition: %w", err))
	}
	return part
}

// mountVar makes the file system if there is none, else checks it, and mounts
// and grows it. A partition that holds something it does not know is left
// alone: that is a failed boot, not a reason to destroy data.
func (b *boot) mountVar(part partitions.Partition) error {
	dev, err := b.layout.Section(partitions.LabelVar)
	if err != nil {
		return err
	}
	fs, err := probe(dev)
	if err != nil {
		return err
	}
	node := part.Node(b.disk.Path)
	if b.state.MakingVar || fs.kind == fsBlank {
		if fs, err = b.makeVar(dev, node, fs.kind); err != nil {
			return err
		}
	} else if err := b.checkVar(fs, node); err != nil {
		return err
	}
	if err := b.mount(Mount{node, varDir, fs.kind, "", 0}); err != nil {
		return err
	}
	if fs.size > 0 && part.Size-fs.size >= growMin {
		if err := b.sys.GrowFilesystem(b.path(varDir), fs.kind, part.Size); err != nil {
			b.warn(fmt.Errorf("growing /var from %d to %d bytes: %w", fs.size, part.Size, err))
		} else {
			b.sys.Log(false, fmt.Sprintf("grew /var from %d to %d bytes", fs.size, part.Size))
		}
	}
	return nil
}

// makeVar makes a file system with the image's own mkfs, run in the verified
// root. The intent is saved first: what a cut leaves of a half-made one is
// made again.
func (b *boot) makeVar(dev blockdev.Device, node, was string) (filesystem, error) {
	root := b.path(newRoot)
	fs := filesystem{kind: "ext4"}
	args := []string{"-q", "-F", "-L", "var", "-E", "lazy_itable_init=1", node}
	tool := findTool(root, "mkfs.ext4")
	if tool == "" {
		fs.kind, args = "btrfs", []string{"-q", "-f", "-L", "var", node}
		if tool = findTool(root, "mkfs.btrfs"); tool == "" {
			return fs, errors.New("the partition is blank and the image has neither mkfs.ext4 nor mkfs.btrfs")
		}
	}
	if !b.state.MakingVar {
		s := b.state
		s.MakingVar = true
		if err := b.save(s); err != nil {
			return fs, err
		}
		b.state = s
	}
	if was != fsBlank {
		if err := recovery.Wipe(dev, b.sys.Alive); err != nil {
			return fs, fmt.Errorf("wiping %s: %w", node, err)
		}
	}
	b.sys.Log(false, fmt.Sprintf("making %s on %s for /var", fs.kind, node))
	res, err := b.runTool(tool, mkfsTimeout, args...)
	if err != nil {
		return fs, err
	}
	if res.Exit != 0 {
		return fs, fmt.Errorf("%s %s: exit %d: %s", tool, node, res.Exit, lastLine(res.Output))
	}
	return fs, nil
}

// varMade ends the making of var, when everything in it is on the medium.
func (b *boot) varMade() error {
	if !b.state.MakingVar {
		return nil
	}
	if err := b.sys.SyncFilesystem(b.path(varDir)); err != nil {
		return fmt.Errorf("/var: syncing: %w", err)
	}
	s := b.state
	s.MakingVar = false
	if err := b.save(s); err != nil {
		return err
	}
	b.state = s
	return nil
}

// checkVar refuses what it cannot mount, and has ext4 repaired by the image's
// fsck when it was not unmounted cleanly. The exit codes are those of fsck(8).
func (b *boot) checkVar(fs filesystem, node string) error {
	if !fs.mountable() {
		return fmt.Errorf("%s holds %s, which is left alone", node, fs.kind)
	}
	if fs.kind != "ext4" || fs.clean {
		return nil
	}
	tool := findTool(b.path(newRoot), "e2fsck")
	if tool == "" {
		tool = findTool(b.path(newRoot), "fsck.ext4")
	}
	if tool == "" {
		b.debug("no e2fsck in the image")
		return nil // the kernel replays the journal
	}
	res, err := b.runTool(tool, fsckTimeout, "-p", node)
	if err != nil {
		return err
	}
	if res.Exit&^3 != 0 {
		return fmt.Errorf("%s -p %s: exit %d: %s", tool, node, res.Exit, lastLine(res.Output))
	}
	if res.Exit != 0 {
		b.sys.Log(false, "/var was repaired: "+lastLine(res.Output))
	}
	return nil
}

// runTool runs a program of the image with /dev and /proc in their places.
func (b *boot) runTool(tool string, timeout time.Duration, args ...string) (res Result, err error) {
	for _, dir := range []string{"/dev", "/proc"} {
		if err := b.mount(Mount{Source: dir, Target: newRoot + dir, Flags: Bind}); err != nil {
			return res, err
		}
		defer func() {
			if uerr := b.sys.Unmount(newRoot + dir); err == nil && uerr != nil {
				err = fmt.Errorf("unmounting %s: %w", newRoot+dir, uerr)
			}
		}()
	}
	res, err = b.sys.Run(Command{Root: b.path(newRoot), Path: tool, Args: args, Timeout: timeout})
	b.debug("%s %s: exit %d", tool, strings.Join(args, " "), res.Exit)
	return res, err
}

// lastLine is the last line of a program's output that says something.
func lastLine(out string) string {
	lines := strings.FieldsFunc(out, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := len(lines) - 1; i >= 0; i-- {
		if l := strings.TrimSpace(lines[i]); l != "" {
			return l
		}
	}
	return "it said nothing"
}
