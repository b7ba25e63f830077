package disk

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
)

// Options are what a new disk needs besides its layout.
type Options struct {
	Arch string // of the slots' images, named as OCI does; "" means amd64
	// SectorSize is the disk's logical sector, 512 or 4096; 0 means what a
	// block device says, and 512 for a file.
	SectorSize int64
	// Rand is where GUIDs come from; nil means crypto/rand. The same bytes
	// give the same disk.
	Rand io.Reader
	// Image is the length of an image that stands already where slot A will
	// begin, Layout.SlotA: it stays.
	Image int64
}

// CreateFile makes a sparse disk image of size bytes at path, which must not
// exist, and creates the layout on it; size 0 means the smallest that holds
// the layout. After an error there is no file. The caller closes the file.
func CreateFile(path string, size Size, l Layout, opt Options) (*blockdev.File, *partitions.Disk, error) {
	if size == 0 {
		size = l.MinDisk()
	}
	if err := l.fits(int64(size)); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, nil, fmt.Errorf("creating disk image: %w", err)
	}
	err = errors.Join(f.Truncate(int64(size)), f.Close())
	var dev *blockdev.File
	var d *partitions.Disk
	if err == nil {
		dev, err = blockdev.Open(path, blockdev.Exclusive)
	}
	if err == nil {
		if d, err = Create(dev, l, opt); err != nil {
			dev.Close()
		}
	}
	if err != nil {
		os.Remove(path)
		return nil, nil, fmt.Errorf("creating disk image %s: %w", path, err)
	}
	return dev, d, nil
}

// Create writes a new partition table with the layout to dev. What dev held
// before is lost: the first and last MiB of the disk and of every partition
// are zeroed, so that no old table, file system or slot footer is taken for a
// new one. Slots are left empty, the boot state and the ESP to be written,
// var and extras blank.
func Create(dev blockdev.Device, l Layout, opt Options) (*partitions.Disk, error) {
	sector, err := opt.sectorSize(dev)
	if err != nil {
		return nil, err
	}
	if err := l.fits(dev.Size()); err != nil {
		return nil, err
	}
	if sector > 512 && l.ESP < MinESP4K {
		return nil, fault.Errorf(fault.Usage, "creating partitions: esp is %v; on a disk with sectors of %d bytes at least %v is needed", l.ESP, sector, MinESP4K)
	}
	if room := partitions.Capacity(int64(l.Slot)); opt.Image > room {
		return nil, fault.Errorf(fault.NoRoom, "creating partitions: the image has %d bytes, a slot of %v holds %d", opt.Image, l.Slot, room)
	}
	t, err := l.table(dev.Size(), sector, opt)
	if err != nil {
		return nil, fmt.Errorf("creating partitions: %w", err)
	}
	// Without its table, an interrupted disk is no abupdate disk.
	if err := wipe(dev, 0, dev.Size()); err != nil {
		return nil, fmt.Errorf("wiping the disk: %w", err)
	}
	for _, p := range t.Partitions {
		kept := int64(0)
		if p.Name == partitions.LabelRootA {
			kept = opt.Image
		}
		if err := wipe(dev, int64(p.Start)*sector+kept, int64(p.Size)-kept); err != nil {
			return nil, fmt.Errorf("wiping partition %s: %w", p.Name, err)
		}
	}
	if err := dev.Sync(); err != nil {
		return nil, fmt.Errorf("wiping the disk: syncing: %w", err)
	}
	if err := t.Write(&storage{dev: dev}, dev.Size()); err != nil {
		return nil, fmt.Errorf("writing the partition table: %w", err)
	}
	// go-diskfs's protective MBR has no CHS fields and overflows past 2 TiB:
	// ours comes last, in what is otherwise found in order.
	if _, err := partitions.GrowLast(dev); err != nil {
		return nil, fmt.Errorf("writing the protective MBR: %w", err)
	}
	return partitions.Open(dev)
}

// Blank makes a disk one without partitions, before something is written to
// where partitions will be.
func Blank(dev blockdev.Device) error {
	if err := wipe(dev, 0, dev.Size()); err != nil {
		return fmt.Errorf("wiping the disk: %w", err)
	}
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("wiping the disk: syncing: %w", err)
	}
	return nil
}

// fits says whether the layout is valid and a disk of size bytes holds it.
func (l Layout) fits(size int64) error {
	if err := l.Validate(); err != nil {
		return err
	}
	if Size(size) < l.MinDisk() {
		return fault.Errorf(fault.NoRoom, "the layout needs a disk of %v (%d bytes), this one has %d bytes", l.MinDisk(), int64(l.MinDisk()), size)
	}
	return nil
}

// table lays the partitions out for go-diskfs to write.
func (l Layout) table(size, sector int64, opt Options) (*gpt.Table, error) {
	if opt.Arch == "" {
		opt.Arch = "amd64"
	}
	root, err := partitions.RootType(opt.Arch)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err)
	}
	if opt.Rand == nil {
		opt.Rand = rand.Reader
	}
	diskGUID, err := uuid.NewRandomFromReader(opt.Rand)
	if err != nil {
		return nil, err
	}
	t := &gpt.Table{LogicalSectorSize: int(sector), PhysicalSectorSize: int(sector), GUID: diskGUID.String()}
	off := int64(grain)
	add := func(label, typ string, size Size, attr uint64) error {
		guid, err := uuid.NewRandomFromReader(opt.Rand)
		t.Partitions = append(t.Partitions, &gpt.Partition{
			Index: len(t.Partitions) + 1, Name: label, Type: gpt.Type(typ), GUID: guid.String(), Attributes: attr,
			Start: uint64(off / sector), End: uint64((off+int64(size))/sector) - 1, Size: uint64(size),
		})
		off += int64(size)
		return err
	}
	const slotAttr = partitions.AttrReadOnly | partitions.AttrNoAuto
	errs := []error{
		add(partitions.LabelESP, partitions.ESPType, l.ESP, 0),
		add(partitions.LabelState, partitions.StateType, StateSize, 0),
		add(partitions.LabelRootA, root, l.Slot, slotAttr),
		add(partitions.LabelRootB, root, l.Slot, slotAttr),
	}
	if l.Recovery > 0 {
		errs = append(errs, add(partitions.LabelRecovery, partitions.LinuxGenericType, l.Recovery, partitions.AttrReadOnly))
	}
	for _, e := range l.Extras {
		typ, err := e.typeGUID()
		errs = append(errs, err, add(e.Label, typ, e.Size, 0))
	}
	// The backup table, 128 entries and a header, ends the disk.
	rest := (size-128*128-sector)/int64(grain)*int64(grain) - off
	errs = append(errs, add(partitions.LabelVar, partitions.VarType, Size(rest), 0))
	return t, errors.Join(errs...)
}

// wipe zeroes the first and last MiB of [off, off+n). Zeros are left as they
// are, so that a sparse file stays sparse.
func wipe(dev blockdev.Device, off, n int64) error {
	edge := min(n, partitions.BlankSize)
	for _, at := range []int64{off, off + n - edge} {
		b := make([]byte, edge)
		if _, err := io.ReadFull(io.NewSectionReader(dev, at, edge), b); err != nil {
			return err
		}
		if bytes.Equal(b, make([]byte, edge)) {
			continue
		}
		if err := blockdev.Zero(dev, at, edge); err != nil {
			return err
		}
	}
	return nil
}
