package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/compose"
	"github.com/abupdate/abupdate/verity"
)

// A prepared update is one that goes onto the disk as it was built, with its
// signatures.
type prepared struct {
	*updater.Update
	tree     *verity.Tree
	envelope []byte
}

// prepare checks an update as far as that goes without its squashfs.
func (in *installer) prepare(ctx context.Context, u *updater.Update) (*prepared, error) {
	p := &prepared{Update: u}
	ring := updater.Keyring{Keys: in.tools.trust.keys}
	if in.opt.Boot.AllowLocal { // for what is unsigned; what is wrongly signed would not start
		found, err := u.Signatures(ctx)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			ring = updater.Keyring{}
		}
	}
	var err error
	if p.envelope, err = u.Envelope(ctx, ring); err != nil {
		return nil, err
	}
	p.tree, err = u.Tree(ctx)
	return p, err
}

// sizeFor decides the sizes of slots that nobody asked for: room for an image
// that is twice as large.
func (l *layout) sizeFor(imageBytes int64, size disk.Size) error {
	if l.sized {
		return nil
	}
	l.Slot, l.sized = roundUp(disk.Size(partitions.SlotSize(2*imageBytes)), slotUnit), true
	if !l.recoverySized {
		l.Recovery = l.Slot
	}
	if size != 0 {
		l.Layout = shrink(l.Layout, size)
	}
	return l.Validate()
}

// holds fails where an image is larger than its slots.
func (l *layout) holds(imageBytes int64, ownRecovery bool) error {
	need := disk.Size(partitions.SlotSize(imageBytes))
	switch {
	case l.Slot < need:
		return fault.Errorf(fault.NoRoom, "slot a is to have %v; the update needs %v", l.Slot, need)
	case l.Recovery != 0 && !ownRecovery && l.Recovery < need:
		return fault.Errorf(fault.NoRoom, "slot recovery is to have %v; the update needs %v", l.Recovery, need)
	}
	return nil
}

// fillFrom puts an update into a slot. The squashfs is fetched into a file
// without a name first, and is checked as a whole.
func (in *installer) fillFrom(ctx context.Context, p *prepared, w *partitions.SlotWriter) error {
	f, err := os.CreateTemp(in.opt.Source.Registry.SpoolDir, "abupdate-update-*")
	if err != nil {
		return fmt.Errorf("spooling the update: %w", err)
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("spooling the update: %w", err)
	}
	if err := p.Save(ctx, f, in.opt.Progress); err != nil {
		return err
	}
	w.Attach(p.Layers(ctx))
	size := p.Manifest.ImageBytes
	return updater.FillSlot(ctx, w, f, p.tree, p.Raw, p.envelope, func(n int64) { in.opt.Progress.Report(updater.StepCopy, n, size) })
}

// slotFromUpdate fills slot A.
func (in *installer) slotFromUpdate(ctx context.Context) error {
	w, err := in.slotWriter(bootctl.SlotA)
	if err != nil {
		return err
	}
	if err := in.fillFrom(ctx, in.update, w); err != nil {
		return slotError(bootctl.SlotA, err)
	}
	in.made = &compose.Result{Manifest: in.update.Manifest, Tree: in.update.tree}
	return nil
}

// kernelIn finds the kernel that a manifest names in the slot's files.
func kernelIn(root fs.FS, release string) (compose.Kernel, error) {
	if release == "" {
		return compose.Kernel{}, fault.Errorf(fault.Usage, "looking for the kernel of slot a: %w", compose.ErrNoKernel)
	}
	for _, modules := range []string{"usr/lib/modules/" + release, "lib/modules/" + release} {
		for _, path := range []string{modules + "/vmlinuz", "boot/vmlinuz-" + release} {
			file, errFile := has(root, path)
			dir, errDir := has(root, modules)
			if err := errors.Join(errFile, errDir); err != nil {
				return compose.Kernel{}, fmt.Errorf("looking for the kernel in slot a: %w", err)
			}
			if file && dir {
				return compose.Kernel{Release: release, Path: path, Modules: modules}, nil
			}
		}
	}
	return compose.Kernel{}, fault.Errorf(fault.Usage, "looking for kernel %q in slot a: %w", release, compose.ErrNoKernel)
}

// has says whether something has that path. It lists folders from the root on, because
// the reader of squashfs tells what is not there from no other error.
func has(root fs.FS, name string) (bool, error) {
	dir := "."
	for part := range strings.SplitSeq(name, "/") {
		entries, err := fs.ReadDir(root, dir)
		if err != nil {
			return false, err
		}
		i := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return e.Name() == part })
		dir = path.Join(dir, part)
		if i < 0 || dir != name && !entries[i].IsDir() {
			return false, nil
		}
	}
	return true, nil
}
