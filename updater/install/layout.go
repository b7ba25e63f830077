package install

import (
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
)

// slotUnit is what slots are rounded up to by default, in bytes.
const slotUnit = 64 * disk.MiB

// unset is a size that no layout file asks for.
const unset = disk.Size(1) << 50

// plan returns the layout as far as it is known before the image is read.
// Unless sized, the slots are the least that there can be, for size to decide.
func (opt Options) plan() (l disk.Layout, sized bool, err error) {
	l = disk.DefaultLayout(0)
	l.Slot, l.Recovery = unset, unset
	if opt.Layout != "" {
		if l, err = disk.ReadLayout(opt.Layout, l); err != nil {
			return l, false, err
		}
	}
	if opt.SlotSize != 0 {
		l.Slot = opt.SlotSize
	}
	if opt.Recovery == RecoveryNone {
		l.Recovery = 0
	} else if l.Recovery == 0 && opt.Recovery != "" {
		return l, false, fault.Errorf(fault.Usage, "the layout %s has no recovery slot for --recovery %s", opt.Layout, opt.Recovery)
	}
	if sized = l.Slot != unset; !sized {
		l.Slot = disk.MinSlot
	}
	if l.Recovery == unset {
		l.Recovery = l.Slot
	}
	return l, sized, l.Validate()
}

// size decides the sizes of slots that nobody asked for. By default they hold
// the image even if nothing of it could have been compressed, which for usual
// systems leaves later versions room to be twice as large. On a disk of a given
// size that is too small for this, the slots share what there is; 0 is a disk
// as large as the layout wants it.
func (opt Options) size(l disk.Layout, plan *oci.Plan, size disk.Size) (disk.Layout, error) {
	slot := roundUp(disk.Size(partitions.SlotSize(worstImage(plan))), slotUnit)
	if l.Recovery == l.Slot {
		l.Recovery = slot
	}
	l.Slot = slot
	if size != 0 {
		l = shrink(l, size)
	}
	return l, l.Validate()
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
