package install

import (
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
)

// slotUnit is what slots are rounded up to by default, in bytes.
const slotUnit = 64 * disk.MiB

// layout decides the sizes of the partitions. The slots are made before the
// image is packed, so that it can stream into its slot; by default they hold
// the image even if nothing of it could be compressed, which for usual systems
// leaves later versions room to be twice as large. On a disk of a given size
// that is too small for this, the slots share what there is.
func (opt Options) layout(plan *oci.Plan, diskSize disk.Size) (disk.Layout, error) {
	l := disk.DefaultLayout(0)
	l.Slot = roundUp(disk.Size(partitions.SlotSize(worstImage(plan))), slotUnit)
	if opt.SlotSize != 0 {
		l.Slot = opt.SlotSize
	}
	l.Recovery = l.Slot
	given := opt.SlotSize != 0
	if opt.Layout != "" {
		def := l
		def.Recovery = -1 // tells whether the file says something
		read, err := disk.ReadLayout(opt.Layout, def)
		if err != nil {
			return l, err
		}
		given = given || read.Slot != l.Slot
		if opt.SlotSize != 0 {
			read.Slot = opt.SlotSize
		}
		if read.Recovery < 0 {
			read.Recovery = read.Slot
		}
		l = read
	}
	if opt.Recovery == RecoveryNone {
		l.Recovery = 0
	} else if l.Recovery == 0 && opt.Recovery != "" {
		return l, fault.Errorf(fault.Usage, "the layout %s has no recovery slot for --recovery %s", opt.Layout, opt.Recovery)
	}
	if !given && diskSize != 0 {
		l = shrink(l, diskSize)
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
