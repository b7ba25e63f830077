package partitions

import (
	"errors"
	"fmt"
	"slices"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
)

// A Disk is a device with an abupdate layout.
type Disk struct {
	dev    blockdev.Device
	table  *gptTable
	parts  []Partition
	backup bool
}

// Open reads the partition table of dev. The error wraps ErrNoLayout when
// there is none or when it is not abupdate's; it wraps ErrCorrupt when a table
// is there and contradicts itself or the disk. Open does not write.
func Open(dev blockdev.Device) (*Disk, error) {
	t, err := findTable(dev)
	if errors.Is(err, errNoGPT) {
		return nil, fault.Errorf(fault.Usage, "%w: %w", ErrNoLayout, err)
	}
	if err != nil {
		return nil, err
	}
	parts, err := t.partitions()
	if err != nil {
		return nil, fmt.Errorf("reading the partition table: %w", err)
	}
	d := &Disk{dev: dev, table: t, parts: parts, backup: t.hdr.MyLBA != 1}
	if err := d.check(); err != nil {
		return nil, err
	}
	return d, nil
}

// check makes sure that this disk has what abupdate needs, once each.
func (d *Disk) check() error {
	for _, want := range []struct {
		what string
		is   func(Partition) bool
	}{
		{"boot state partition", func(p Partition) bool { return p.TypeGUID == StateType }},
		{"partition " + LabelRootA, func(p Partition) bool { return p.Label == LabelRootA }},
		{"partition " + LabelRootB, func(p Partition) bool { return p.Label == LabelRootB }},
	} {
		n := 0
		for _, p := range d.parts {
			if want.is(p) {
				n++
			}
		}
		if n != 1 {
			return fault.Errorf(fault.Usage, "%w: %s: found %d, want one", ErrNoLayout, want.what, n)
		}
	}
	for i, p := range d.parts {
		if p.end() > d.dev.Size() {
			return fmt.Errorf("partition %d (%s) ends at byte %d of a disk of %d: %w", p.Number, p.Label, p.end(), d.dev.Size(), ErrCorrupt)
		}
		if slices.ContainsFunc(d.parts[:i], func(q Partition) bool { return ownLabel(p.Label) && q.Label == p.Label }) {
			return fault.Errorf(fault.Usage, "%w: two partitions are labelled %s", ErrNoLayout, p.Label)
		}
	}
	return nil
}

func ownLabel(label string) bool {
	switch label {
	case LabelESP, LabelState, LabelRootA, LabelRootB, LabelRecovery, LabelVar:
		return true
	}
	return false
}

// GUID is the disk's own, lower case.
func (d *Disk) GUID() string { return d.table.hdr.DiskGUID.String() }

// SectorSize is the unit of the partition table, in bytes.
func (d *Disk) SectorSize() int64 { return d.table.sector }

// FromBackup says that the primary table is damaged and the backup was read.
// The kernel shows no partitions then, unless "gpt" is on its command line;
// GrowLast repairs it.
func (d *Disk) FromBackup() bool { return d.backup }

// Partitions returns all of them, by number.
func (d *Disk) Partitions() []Partition { return slices.Clone(d.parts) }

// Partition returns the one with the given label.
func (d *Disk) Partition(label string) (Partition, bool) {
	i := slices.IndexFunc(d.parts, func(p Partition) bool { return p.Label == label })
	if i < 0 {
		return Partition{}, false
	}
	return d.parts[i], true
}

// StatePartition returns the one that holds the boot state.
func (d *Disk) StatePartition() Partition {
	return d.parts[slices.IndexFunc(d.parts, func(p Partition) bool { return p.TypeGUID == StateType })]
}

// SlotPartition returns the one that a slot lies in; a disk may have no
// recovery slot.
func (d *Disk) SlotPartition(s bootctl.Slot) (Partition, error) {
	label, err := SlotLabel(s)
	if err != nil {
		return Partition{}, err
	}
	p, ok := d.Partition(label)
	if !ok {
		return Partition{}, fault.Errorf(fault.Usage, "this disk has no partition %s", label)
	}
	return p, nil
}

// SlotLabel returns the label of the partition that a slot lies in.
func SlotLabel(s bootctl.Slot) (string, error) {
	switch s {
	case bootctl.SlotA:
		return LabelRootA, nil
	case bootctl.SlotB:
		return LabelRootB, nil
	case bootctl.SlotRecovery:
		return LabelRecovery, nil
	}
	return "", fmt.Errorf("no partition belongs to slot %v", s)
}

// Slot returns the bytes of a slot's partition.
func (d *Disk) Slot(s bootctl.Slot) (*blockdev.Section, error) {
	p, err := d.SlotPartition(s)
	if err != nil {
		return nil, err
	}
	return d.section(p)
}

// State returns the bytes of the boot state partition.
func (d *Disk) State() (*blockdev.Section, error) { return d.section(d.StatePartition()) }

// Section returns the bytes of the partition with the given label.
func (d *Disk) Section(label string) (*blockdev.Section, error) {
	p, ok := d.Partition(label)
	if !ok {
		return nil, fmt.Errorf("this disk has no partition %s", label)
	}
	return d.section(p)
}

func (d *Disk) section(p Partition) (*blockdev.Section, error) {
	s, err := blockdev.NewSection(d.dev, p.Off, p.Size)
	if err != nil {
		return nil, fmt.Errorf("opening partition %d (%s): %w", p.Number, p.Label, err)
	}
	return s, nil
}
