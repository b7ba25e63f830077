package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater"
)

// Formats of a disk image file.
const (
	FormatRaw   = "raw"
	FormatQcow2 = "qcow2"
)

// Image makes a disk image file at path. It is written under another name
// beside it and appears whole or not at all; a file that is there already is
// replaced.
func Image(ctx context.Context, opt Options, path, format string) (*Installed, error) {
	if format != FormatRaw && format != FormatQcow2 {
		return nil, fault.Errorf(fault.Usage, "format %q is neither %s nor %s", format, FormatRaw, FormatQcow2)
	}
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return nil, fault.Errorf(fault.Usage, "%s is not a file: install writes to devices", path)
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return nil, fault.Errorf(fault.Usage, "writing %s: %w", path, err)
	}
	in, err := start(ctx, opt)
	if err != nil {
		return nil, err
	}
	defer in.image.Close()
	if opt.Size != 0 {
		if err := in.layout.fits(int64(opt.Size)); err != nil {
			return nil, err
		}
	}
	tmp, err := os.MkdirTemp(filepath.Dir(path), ".abupdate-image-*")
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.RemoveAll(tmp)
	raw := filepath.Join(tmp, "disk")
	if err := in.toFile(ctx, raw); err != nil {
		return nil, fmt.Errorf("writing %s: %w", path, err)
	}
	if format == FormatQcow2 {
		converted := raw + ".qcow2"
		if err := disk.ConvertQcow2(ctx, raw, converted); err != nil {
			return nil, err
		}
		raw = converted
	}
	in.result.Disk = path
	return in.result, updater.Place(raw, path)
}

func (in *installer) toFile(ctx context.Context, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if !in.layout.sized {
		hashes := updater.NewHashStore(filepath.Dir(path))
		defer hashes.Close()
		if err := in.streamTo(ctx, f, int64(in.opt.Size), hashes); err != nil {
			return err
		}
	}
	size := in.opt.Size
	if size == 0 {
		size = in.layout.MinDisk()
	}
	if err := errors.Join(f.Truncate(int64(size)), f.Close()); err != nil {
		return err
	}
	dev, err := blockdev.Open(path, blockdev.Exclusive)
	if err != nil {
		return err
	}
	return errors.Join(in.onto(ctx, dev), dev.Close())
}

// Device installs onto a block device, or a file taken as one. What was on it
// is lost.
func Device(ctx context.Context, opt Options, path string) (*Installed, error) {
	dev, err := openDevice(path)
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	opt.Size = disk.Size(dev.Size())
	in, err := start(ctx, opt)
	if err != nil {
		return nil, err
	}
	defer in.image.Close()
	if err := in.toDevice(ctx, dev); err != nil {
		return nil, fmt.Errorf("installing onto %s: %w", path, err)
	}
	if dev.IsBlock() {
		// Without this the kernel goes on with the old partitions until the
		// next boot, which does no harm.
		_, _ = unix.IoctlRetInt(int(dev.OSFile().Fd()), unix.BLKRRPART)
	}
	in.result.Disk = path
	return in.result, nil
}

func (in *installer) toDevice(ctx context.Context, dev *blockdev.File) error {
	if err := in.layout.fits(dev.Size()); err != nil {
		return err
	}
	if !in.layout.sized {
		hashes := updater.NewHashStore(in.opt.Source.Registry.SpoolDir)
		defer hashes.Close()
		if err := disk.Blank(dev); err != nil {
			return err
		}
		if err := in.streamTo(ctx, dev, dev.Size(), hashes); err != nil {
			return err
		}
	}
	return in.onto(ctx, dev)
}

func openDevice(path string) (*blockdev.File, error) {
	dev, err := blockdev.Open(path, blockdev.Exclusive)
	switch {
	case errors.Is(err, blockdev.ErrInUse):
		return nil, fault.Errorf(fault.Busy, "opening the disk: %w: it is mounted, or another program writes to it", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("opening the disk: %w (root is needed)", err)
	case err != nil:
		return nil, fault.Errorf(fault.Usage, "opening the disk: %w", err)
	}
	return dev, nil
}
