package campaign_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
	"github.com/abupdate/abupdate/recovery/recoverytest"
)

// A region is a part of the disk that means something to what boots.
type region struct {
	name     string
	off, len int64
}

// regions of a disk with three slots that are full.
func regions(t *testing.T, dev blockdev.Device) []region {
	t.Helper()
	layout := recoverytest.Open(t, dev)
	const table = 34 * 512
	all := []region{{"partition table", 0, table}, {"its backup", dev.Size() - 33*512, 33 * 512}}
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB, bootctl.SlotRecovery} {
		sec, err := layout.Slot(slot)
		if err != nil {
			t.Fatal(err)
		}
		c, err := partitions.ReadSlot(sec)
		if err != nil {
			t.Fatal(err)
		}
		f := c.Footer
		for _, r := range []region{
			{"data", 0, f.ImageBytes}, {"hash tree", f.HashOff, f.TreeBytes},
			{"manifest", f.ManifestOff, f.ManifestBytes}, {"footer", sec.Size() - partitions.FooterSize, partitions.FooterSize},
		} {
			all = append(all, region{fmt.Sprintf("slot %v's %s", slot, r.name), sec.Off() + r.off, r.len})
		}
	}
	state, err := layout.State()
	if err != nil {
		t.Fatal(err)
	}
	for i, off := range []int64{0, bootctl.PartitionSize / 2} {
		all = append(all, region{fmt.Sprintf("boot state record %d", i+1), state.Off() + off, bootctl.RecordSize})
	}
	vars, err := layout.Section(partitions.LabelVar)
	if err != nil {
		t.Fatal(err)
	}
	return append(all, region{"start of var", vars.Off(), 4096})
}

// A harm changes the 512 bytes of a sector; at is a place in it.
type harm struct {
	name string
	do   func(sector []byte, at int, rnd *rand.Rand)
}

var harms = []harm{
	{"a bit flipped", func(s []byte, at int, rnd *rand.Rand) { s[at] ^= 1 << rnd.IntN(8) }},
	{"a sector of zeros", func(s []byte, _ int, _ *rand.Rand) { clear(s) }},
	{"a sector of noise", func(s []byte, _ int, rnd *rand.Rand) {
		for i := range s {
			s[i] = byte(rnd.Uint32())
		}
	}},
}

// Whatever is damaged anywhere is corrected, or refused, or fallen back from:
// nothing else than one of the disk's systems comes up, whole, or recovery
// waits. What is in /var does not boot; a device whose /var cannot be used may
// end in recovery.
func TestDamage(t *testing.T) {
	r := builtRefs(t)
	positions := 1000
	if *full {
		positions = 10_000
	}
	for _, before := range []struct {
		name string
		do   func(t *testing.T, r refs, dev blockdev.Device)
	}{{"two good slots", updated}, {"a slot to be tried", staged}} {
		t.Run(before.name, func(t *testing.T) {
			t.Parallel()
			dev := device(t, r)
			before.do(t, r, dev)
			known := map[string]string{rootHash(t, dev, bootctl.SlotA): "v1", rootHash(t, dev, bootctl.SlotB): "v2"}
			usual := machine.Start(blockdevtest.NewImage(dev))
			all := regions(t, dev)
			rnd := rand.New(rand.NewPCG(1, 2))
			ends := make(map[string]int)
			for i := range positions / 2 {
				reg, h := all[i%len(all)], harms[i/len(all)%len(harms)]
				at := reg.off + rnd.Int64N(reg.len)
				img := blockdevtest.NewImage(dev)
				var sector [512]byte
				read(t, img, sector[:], at&^511)
				h.do(sector[:], int(at&511), rnd)
				if _, err := img.WriteAt(sector[:], at&^511); err != nil {
					t.Fatal(err)
				}
				o := machine.Start(img)
				switch {
				case o.End == machine.Up && o.RootHash == usual.RootHash:
					ends["the usual system"]++
				case o.End == machine.Up && known[o.RootHash] != "":
					ends["the other slot"]++
				case o.End == machine.InRecovery:
					ends["recovery"]++
				default:
					t.Fatalf("%s in %s at byte %d: %v", h.name, reg.name, at, o)
				}
			}
			t.Logf("%d positions in %d regions: %s", positions/2, len(all), summary(ends))
			if len(ends) < 2 {
				t.Error("damage never had an effect: nothing was shown")
			}
		})
	}
}

// summary lists how often each thing happened.
func summary(counts map[string]int) string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", what, counts[what]))
	}
	return strings.Join(parts, "; ")
}

func read(t *testing.T, dev blockdev.Device, p []byte, off int64) {
	t.Helper()
	if _, err := dev.ReadAt(p, off); err != nil {
		t.Fatal(err)
	}
}
