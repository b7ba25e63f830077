package install

import (
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
)

// slotUnit is what slots are rounded up to by default, in bytes.
const slotUnit = 64 * disk.MiB

// A layout is what a disk will be like. Slots whose size nobody asked for are
// as small as can be until the image has been read.
type layout struct {
	disk.Layout
	sized         bool // the slots have their size
	recoverySized bool // the recovery slot has one of its own
}

// plan returns the layout as far as it is known before the image is read.
func (opt Options) plan() (layout, error) {
	const unset = disk.Size(1) << 50 // no layout file asks for that
	l := layout{Layout: disk.DefaultLayout(0)}
	l.Slot, l.Recovery = unset, unset
	var err error
	if opt.Layout != "" {
		if l.Layout, err = disk.ReadLayout(opt.Layout, l.Layout); err != nil {
			return l, err
		}
	}
	if opt.SlotSize != 0 {
		l.Slot = opt.SlotSize
	}
	if opt.Recovery == RecoveryNone {
		l.Recovery = 0
	} else if l.Recovery == 0 && opt.Recovery != "" {
		return l, fault.Errorf(fault.Usage, "the layout %s has no recovery slot for --recovery %s", opt.Layout, opt.Recovery)
	}
	l.sized, l.recoverySized = l.Slot != unset, l.Recovery != unset
	if !l.sized {
		l.Slot = disk.MinSlot
	}
	if !l.recoverySized {
		l.Recovery = l.Slot
	}
	return l, l.Validate()
}

// size decides the sizes of slots that nobody asked for. By default they hold
// the image even if nothing of it could have been compressed, which for usual
// systems leaves later versions room to be twice as large. On a disk of a given
// size that is too small for this, the slots share what there is; 0 is a disk
// as large as the layout wants it.
func (l *layout) size(plan *oci.Plan, size disk.Size) error {
	l.Slot, l.sized = roundUp(disk.Size(partitions.SlotSize(worstImage(plan))), slotUnit), true
	if !l.recoverySized {
		l.Recovery = l.Slot
	}
	if size != 0 {
		l.Layout = shrink(l.Layout, size)
	}
	return l.Validate()
}

// fits returns an error if not even the layout as it is fits on a disk.
func (l *layout) fits(size int64) error {
	if least := l.MinDisk(); disk.Size(size) < least {
		return fault.Errorf(fault.NoRoom, "the layout needs a disk of at least %v (%d bytes), this one has %d bytes", least, int64(least), size)
	}
	return nil
}

// shrink makes the slots smaller until the disk holds the layout, as far as
// there is something to take away.
func shrink(l disk.Layout, size disk.Size) disk.Layout {
	slots := disk.Size(2)
	if l.Recovery > 0 {
		slots = 3
	}
	if over := l.MinDisk() - size; over > 0 {
		less := roundUp((over+slots-1)/slots, disk.MiB)
		if l.Slot-less >= disk.MinSlot && (l.Recovery == 0 || l.Recovery == l.Slot) {
			l.Slot -= less
			l.Recovery = max(0, l.Recovery-less)
		}
	}
	return l
}

// worstImage is the size of a squashfs of the plan's files if nothing could be
// compressed: content, the padding of every file's run of blocks, and tables.
func worstImage(plan *oci.Plan) int64 {
	const padding, metadata = 4096, 256
	return plan.Bytes + int64(plan.Files)*padding + int64(plan.Tree.Len())*metadata
}

func roundUp(n, unit disk.Size) disk.Size { return (n + unit - 1) / unit * unit }
