package machine

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
)

// A Region is a part of a disk, in bytes.
type Region struct {
	Name     string
	Off, Len int64
}

// Regions returns the parts of a disk that differ in what damage there does.
// Together they are all of it, but for the ends of slots that hold nothing.
func Regions(dev blockdev.Device) ([]Region, error) {
	layout, err := partitions.Open(dev)
	if err != nil {
		return nil, err
	}
	parts, sector := layout.Partitions(), layout.SectorSize()
	const entries = 128 * 128 // bytes, of the table that package disk makes
	first := slices.MinFunc(parts, func(p, q partitions.Partition) int { return cmp.Compare(p.Off, q.Off) })
	table := 2*sector + entries
	all := []Region{
		{"protective MBR", 0, sector}, {"partition table's header", sector, sector}, {"partition table", 2 * sector, entries},
		{"before the first partition", table, first.Off - table},
		{"backup of the partition table", dev.Size() - entries - sector, entries}, {"backup's header", dev.Size() - sector, sector},
	}
	for _, p := range parts {
		switch p.Label {
		case partitions.LabelESP:
			all = append(all, Region{"ESP", p.Off, p.Size})
		case partitions.LabelVar:
			all = append(all, Region{"superblock of var", p.Off + 1024, 1024}, Region{"var", p.Off + 4096, p.Size - 4096})
		case partitions.LabelRootA, partitions.LabelRootB, partitions.LabelRecovery:
			of, err := slotRegions(layout, p)
			if err != nil {
				return nil, err
			}
			all = append(all, of...)
		}
	}
	state := layout.StatePartition().Off
	const half = bootctl.PartitionSize / 2
	return append(all, Region{"boot state record 1", state, bootctl.RecordSize}, Region{"boot state record 2", state + half, bootctl.RecordSize},
		Region{"between the records", state + bootctl.RecordSize, half - bootctl.RecordSize}), nil
}

// slotRegions are those of what lies in a slot, and of what is left of it.
func slotRegions(layout *partitions.Disk, p partitions.Partition) ([]Region, error) {
	sec, err := layout.Section(p.Label)
	if err != nil {
		return nil, err
	}
	footer := Region{p.Label + ", footer", p.Off + p.Size - partitions.FooterSize, partitions.FooterSize}
	c, err := partitions.ReadSlot(sec)
	if err != nil { // nothing whole, which is no error here
		return []Region{{p.Label + ", unfinished", p.Off, 64 << 10}, footer}, nil
	}
	f := c.Footer
	end := max(f.ManifestOff+f.ManifestBytes, f.SignaturesOff+f.SignatureBytes, f.LayersOff+f.LayersBytes)
	all := []Region{footer}
	for _, r := range []Region{
		{"first block", 0, 4096}, {"data", 4096, f.ImageBytes - 4096}, {"hash tree", f.HashOff, f.TreeBytes}, {"manifest", f.ManifestOff, f.ManifestBytes},
		{"signatures", f.SignaturesOff, f.SignatureBytes}, {"layers", f.LayersOff, f.LayersBytes}, {"rest", end, p.Size - partitions.FooterSize - end},
	} {
		if r.Len > 0 {
			all = append(all, Region{fmt.Sprintf("%s, %s", p.Label, r.Name), p.Off + r.Off, r.Len})
		}
	}
	return all, nil
}
