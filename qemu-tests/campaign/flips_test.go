package campaign_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery/recoverytest"
)

const sectorSize = 512

// A region is a part of the disk. Together they are all of it.
type region struct {
	name     string
	off, len int64
}

// regions of a disk, from its first sector to its last.
func regions(t *testing.T, dev blockdev.Device) []region {
	t.Helper()
	const table, entries = 34 * sectorSize, 32 * sectorSize
	all := []region{
		{"protective MBR", 0, sectorSize}, {"partition table's header", sectorSize, sectorSize}, {"partition table", 2 * sectorSize, entries},
		{"backup of the partition table", dev.Size() - entries - sectorSize, entries}, {"backup's header", dev.Size() - sectorSize, sectorSize},
	}
	layout := recoverytest.Open(t, dev)
	for _, p := range layout.Partitions() {
		switch p.Label {
		case partitions.LabelESP:
			all = append(all, region{"ESP", p.Off, p.Size})
		case partitions.LabelVar:
			all = append(all, region{"superblock of var", p.Off + 1024, 1024}, region{"var", p.Off + 4096, p.Size - 4096})
		case partitions.LabelRootA:
			all = append(all, slotRegions(t, layout, bootctl.SlotA)...)
		case partitions.LabelRootB:
			all = append(all, slotRegions(t, layout, bootctl.SlotB)...)
		case partitions.LabelRecovery:
			all = append(all, slotRegions(t, layout, bootctl.SlotRecovery)...)
		}
	}
	state := layout.StatePartition().Off
	const half = bootctl.PartitionSize / 2
	all = append(all, region{"boot state record 1", state, bootctl.RecordSize}, region{"boot state record 2", state + half, bootctl.RecordSize},
		region{"between the records", state + bootctl.RecordSize, half - bootctl.RecordSize})
	first := slices.MinFunc(layout.Partitions(), func(p, q partitions.Partition) int { return int(p.Off - q.Off) })
	return append(all, region{"before the first partition", table, first.Off - table})
}

// slotRegions are those of what lies in a slot, and of what is left of it.
func slotRegions(t *testing.T, layout *partitions.Disk, slot bootctl.Slot) []region {
	t.Helper()
	sec, err := layout.Slot(slot)
	if err != nil {
		t.Fatal(err)
	}
	footer := region{fmt.Sprintf("slot %v's footer", slot), sec.Off() + sec.Size() - partitions.FooterSize, partitions.FooterSize}
	c, err := partitions.ReadSlot(sec)
	if err != nil { // nothing whole
		return []region{{fmt.Sprintf("slot %v, unfinished", slot), sec.Off(), 64 << 10}, footer}
	}
	f := c.Footer
	end := max(f.ManifestOff+f.ManifestBytes, f.SignaturesOff+f.SignatureBytes, f.LayersOff+f.LayersBytes)
	all := []region{footer}
	for _, r := range []region{
		{"first block", 0, 4096}, {"data", 4096, f.ImageBytes - 4096}, {"hash tree", f.HashOff, f.TreeBytes}, {"manifest", f.ManifestOff, f.ManifestBytes},
		{"signatures", f.SignaturesOff, f.SignatureBytes}, {"layers", f.LayersOff, f.LayersBytes}, {"rest", end, sec.Size() - partitions.FooterSize - end},
	} {
		if r.len > 0 {
			all = append(all, region{fmt.Sprintf("slot %v's %s", slot, r.name), sec.Off() + r.off, r.len})
		}
	}
	return all
}

// A place is where a disk is harmed.
type place struct {
	region
	at    int64           // a byte in it
	older blockdev.Device // the same disk, earlier
	rnd   *rand.Rand
}

func (p place) sector() int64 { return p.at &^ (sectorSize - 1) }

// A harm is a kind of damage. It returns the disk as it is from then on.
type harm struct {
	name string
	do   func(t *testing.T, img *blockdevtest.Image, p place) blockdev.Device
}

// flip is what the others are beside.
var flip = harm{"a bit flipped", func(t *testing.T, img *blockdevtest.Image, p place) blockdev.Device {
	return change(t, img, p, func(s []byte) { s[p.at%sectorSize] ^= 1 << p.rnd.IntN(8) })
}}

var harms = []harm{
	{"a sector of zeros", func(t *testing.T, img *blockdevtest.Image, p place) blockdev.Device {
		return change(t, img, p, func(s []byte) { clear(s) })
	}},
	{"a sector of ones", func(t *testing.T, img *blockdevtest.Image, p place) blockdev.Device {
		return change(t, img, p, func(s []byte) {
			for i := range s {
				s[i] = 0xff
			}
		})
	}},
	{"a sector of noise", func(t *testing.T, img *blockdevtest.Image, p place) blockdev.Device {
		return change(t, img, p, func(s []byte) {
			for i := range s {
				s[i] = byte(p.rnd.Uint32())
			}
		})
	}},
	{"a sector as it was before", func(t *testing.T, img *blockdevtest.Image, p place) blockdev.Device {
		return change(t, img, p, func(s []byte) { read(t, p.older, s, p.sector()) })
	}},
	{"two sectors swapped", func(t *testing.T, img *blockdevtest.Image, p place) blockdev.Device {
		other := p
		other.at = p.off + p.rnd.Int64N(p.len)
		var mine, its [sectorSize]byte
		read(t, img, mine[:], p.sector())
		read(t, img, its[:], other.sector())
		change(t, img, other, func(s []byte) { copy(s, mine[:]) })
		return change(t, img, p, func(s []byte) { copy(s, its[:]) })
	}},
	{"4 KiB torn off", func(t *testing.T, img *blockdevtest.Image, p place) blockdev.Device {
		for at := p.sector() &^ 4095; at < min(p.sector()&^4095+4096, img.Size()); at += sectorSize {
			p.at = at
			change(t, img, p, func(s []byte) { clear(s) })
		}
		return img
	}},
	{"a sector that cannot be read until it is written", func(_ *testing.T, img *blockdevtest.Image, p place) blockdev.Device {
		return &badSector{Device: img, at: p.sector()}
	}},
	{"a sector that cannot be written", func(_ *testing.T, img *blockdevtest.Image, p place) blockdev.Device {
		return &badSector{Device: img, at: p.sector(), stuck: true}
	}},
}

// change writes a sector anew.
func change(t *testing.T, img *blockdevtest.Image, p place, do func(s []byte)) blockdev.Device {
	t.Helper()
	var s [sectorSize]byte
	read(t, img, s[:], p.sector())
	do(s[:])
	if _, err := img.WriteAt(s[:], p.sector()); err != nil {
		t.Fatal(err)
	}
	return img
}

// A badSector is a disk with a sector that fails: to be read, until it is
// written and so replaced by a spare one; or, stuck, to be written.
type badSector struct {
	blockdev.Device
	at     int64
	stuck  bool
	mended bool
}

func (d *badSector) within(p []byte, off int64) bool {
	return off < d.at+sectorSize && d.at < off+int64(len(p))
}

func (d *badSector) ReadAt(p []byte, off int64) (int, error) {
	if !d.stuck && !d.mended && d.within(p, off) {
		return 0, syscall.EIO
	}
	return d.Device.ReadAt(p, off)
}

func (d *badSector) WriteAt(p []byte, off int64) (int, error) {
	if d.within(p, off) {
		if d.stuck {
			return 0, syscall.EIO
		}
		d.mended = true
	}
	return d.Device.WriteAt(p, off)
}

func read(t *testing.T, dev blockdev.Device, p []byte, off int64) {
	t.Helper()
	if _, err := dev.ReadAt(p, off); err != nil {
		t.Fatal(err)
	}
}
