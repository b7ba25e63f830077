package updater

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/unsquash"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater/diff"
	"github.com/abupdate/abupdate/verity"
)

// LookOptions says what to look at, and for what.
type LookOptions struct {
	Source SourceOptions
	Disk   string // that slots are of; "" is the one this machine booted from
	// TempDir is where an update's squashfs lies while its files are read, and
	// one that is made of an image; "" is the system's.
	TempDir  string
	Keyring  Keyring // that signatures are checked with
	Files    bool    // list them
	Packages bool
	Progress Progress
}

// Look tells what a slot (a, b, recovery), a raw slot image file, an image or
// an update is, and what is in it as far as the options ask.
func Look(ctx context.Context, name string, opt LookOptions) (*Inspected, error) {
	s := &snapshot{look: opt, contents: opt.Files || opt.Packages}
	defer s.Close()
	if err := s.open(ctx, name); err != nil {
		return nil, err
	}
	if opt.Files {
		s.in.FileList = diff.List(s.files)
	}
	var err error
	if opt.Packages {
		s.in.PackageDatabase, s.in.Packages, err = s.packages(ctx)
	}
	return s.in, err
}

// A snapshot is something open to be looked at.
type snapshot struct {
	look LookOptions
	// compose asks for the hash tree of an image too, which takes making it;
	// contents asks for files.
	compose, contents bool

	in    *Inspected
	tree  *verity.Tree // nil for an image that is not composed
	files []diff.File
	image *unsquash.Image // that files are of, unless they are a plan's
	// read returns the contents of small files.
	read  func(ctx context.Context, paths []string) (map[string][]byte, error)
	close []func() error
}

// Close gives back what the snapshot holds.
func (s *snapshot) Close() error {
	var errs []error
	for i := len(s.close) - 1; i >= 0; i-- {
		errs = append(errs, s.close[i]())
	}
	s.close = nil
	return errors.Join(errs...)
}

// open finds out what name is: a slot, a file, or a reference.
func (s *snapshot) open(ctx context.Context, name string) error {
	if err := checkTempDir(s.look.TempDir); err != nil {
		return err
	}
	if slot, err := bootctl.ParseSlot(name); err == nil && slot != bootctl.SlotNone {
		sys, err := Open(OpenOptions{Disk: s.look.Disk})
		if err != nil {
			return err
		}
		s.close = append(s.close, sys.Close)
		sec, err := sys.slot(slot)
		if err != nil {
			return err
		}
		return s.openSlot(sys.slotName(slot), sec)
	}
	st, err := os.Stat(name)
	switch {
	case err != nil:
	case st.Mode().IsRegular() || st.Mode().Type() == fs.ModeDevice:
		return s.openFile(name)
	case st.IsDir():
		if _, err := oci.ParseReference(name); err != nil {
			return fault.Errorf(fault.Usage, "%s is a directory: oci:%[1]s is the layout in it", name)
		}
	}
	return s.openReference(ctx, name)
}

// checkTempDir finds out early whether a folder that was named is there.
func checkTempDir(dir string) error {
	if dir == "" {
		return nil
	}
	switch st, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return fault.Errorf(fault.Usage, "looking for the temporary directory: %w", err)
	case err != nil:
		return fmt.Errorf("looking for the temporary directory: %w", err)
	case !st.IsDir():
		return fault.Errorf(fault.Usage, "looking for the temporary directory: %s: it is not a directory", dir)
	}
	return nil
}

// openFile looks at a slot image. Of what people take for one it says what it
// is.
func (s *snapshot) openFile(name string) error {
	dev, err := blockdev.Open(name, blockdev.ReadOnly)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("opening the slot image: %w", err)
	}
	if err != nil {
		return fault.Errorf(fault.Usage, "opening the slot image: %w", err)
	}
	s.close = append(s.close, dev.Close)
	err = s.openSlot(name, dev)
	if err == nil {
		return nil
	}
	const tarMagic = 257
	magic := make([]byte, 5)
	if _, diskErr := partitions.Open(dev); diskErr == nil {
		return fault.Errorf(fault.Usage, "%s is a disk: abupdate inspect a --disk %[1]s shows slot a of it", name)
	} else if _, err := dev.ReadAt(magic, tarMagic); err == nil && string(magic) == "ustar" {
		return fault.Errorf(fault.Usage, "%s is an archive: oci-archive:%[1]s or docker-archive:%[1]s is the image in it", name)
	}
	return err
}

// openSlot looks at a slot. Whatever is read of its image is checked against
// its hash tree.
func (s *snapshot) openSlot(name string, dev blockdev.Device) error {
	content, err := partitions.ReadSlot(dev)
	if isEmpty(err) {
		return fault.Errorf(fault.Usage, "reading %s: %w", name, err)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	s.in = &Inspected{Kind: "slot", Name: name, Manifest: *content.Manifest, SlotBytes: dev.Size()}
	s.in.SignatureStatus = s.look.Keyring.slotStatus(content)
	s.in.Signed = s.in.Signatures > 0
	if !s.compose && !s.contents {
		return nil
	}
	if s.tree, err = content.Tree(dev); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if !s.contents {
		return nil
	}
	image, err := content.Image(dev)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return s.openSquashfs(name, &checkedImage{r: image, tree: s.tree}, image.Size())
}
