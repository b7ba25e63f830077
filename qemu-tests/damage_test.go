package qemutests

import (
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/vm"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
)

// lowerDir is where a booted system's verified squashfs is.
const lowerDir = "/run/abupdate/lower"

// TestDamageBoots flips a bit in each of many parts of a disk with v1 in slot a
// and v2 in b, to be tried once, and boots it. What comes up is what the
// machine in memory says: all of its files are read there, and on the disk its
// image is, byte by byte, what was installed.
func TestDamageBoots(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	d.host("apply", d.d.image("v2"))
	d.edit(func(s *bootctl.State) { s.Slot(bootctl.SlotB).TriesLeft = 1 })
	whole, err := blockdev.Open(d.disk, blockdev.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	all, err := machine.Regions(whole)
	if err != nil {
		t.Fatal(err)
	}
	// What the kernel makes of a damaged /var is not in the machine's power.
	all = slices.DeleteFunc(all, func(r machine.Region) bool { return strings.Contains(r.Name, "var") })
	booted := 1
	if *full {
		booted = 25
	}
	rnd := rand.New(rand.NewPCG(5, 25))
	ends := make(map[string]int)
	for i := range booted {
		// The first is the header of the partition table: without it the
		// kernel sees no partitions, and abinit shows them to it.
		reg := all[(1+i*len(all)/booted)%len(all)]
		at, bit := reg.Off+rnd.Int64N(reg.Len), byte(1)<<rnd.IntN(8)
		if i == 0 {
			at = reg.Off + 40
		}
		t.Run(reg.Name, func(t *testing.T) { ends[d.bootsFlipped(t, whole, at, bit)]++ })
	}
	t.Logf("%d flips booted: %v", booted, ends)
}

// bootsFlipped boots a copy of the device with a flipped bit, and says what
// came up.
func (d *device) bootsFlipped(t *testing.T, whole blockdev.Device, at int64, bit byte) string {
	c := *d
	c.t, c.disk = t, filepath.Join(t.TempDir(), "flipped.img")
	c.cfg.Disks = []vm.Disk{{Path: c.disk}}
	copyFile(t, d.disk, c.disk)
	img := blockdevtest.NewImage(whole)
	c.put(c.disk, flipped(t, img, at, bit), whole)
	want := machine.StartRelease(img, d.f.kernel.Release)
	if want.End != machine.Up {
		t.Fatalf("byte %d: %v; want a system", at, want)
	}
	g := c.start()
	b := g.readAll()
	if b.Slot != want.Slot.String() || b.Version != want.Version {
		t.Errorf("byte %d: slot %s with version %s; want %v", at, b.Slot, b.Version, want)
	}
	st := g.status()
	if st.Booted == nil || *st.Booted != want.Slot || st.Slots[b.Slot].RootHash != want.RootHash {
		t.Errorf("byte %d: status = %+v; want root hash %s in slot %v", at, st, want.RootHash, want.Slot)
	}
	g.run("abupdate", "mark-good")
	g.Kill()
	if got, want := imageSum(t, c.open(), want.Slot), imageSum(t, d.open(), want.Slot); got != want {
		t.Errorf("byte %d: the image in slot %s has hash %x; want %x", at, b.Slot, got, want)
	}
	return "slot " + b.Slot + ", version " + b.Version
}

func flipped(t *testing.T, img *blockdevtest.Image, at int64, bit byte) blockdev.Device {
	t.Helper()
	var b [1]byte
	if _, err := img.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= bit
	if _, err := img.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	return img
}

// readAll waits for a system all of whose files can be read: where one cannot,
// dm-verity restarts the machine.
func (g *guest) readAll() boot {
	g.t.Helper()
	for {
		b := g.waitBoot()
		r, err := g.Run(deadline(g.t, bootTime), "", "guest", "sum", lowerDir)
		if errors.Is(err, vm.ErrReset) {
			g.t.Logf("slot %s with version %s was read, and the machine started again", b.Slot, b.Version)
			continue
		}
		if err != nil || r.Exit != 0 {
			g.t.Fatalf("reading everything: %v, exit code %d: %s", err, r.Exit, r.Stderr)
		}
		return b
	}
}

// imageSum is the hash of the image in a slot.
func imageSum(t *testing.T, layout *partitions.Disk, slot bootctl.Slot) [32]byte {
	t.Helper()
	sec, err := layout.Slot(slot)
	if err != nil {
		t.Fatal(err)
	}
	c, err := partitions.ReadSlot(sec)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(sec, 0, c.Footer.ImageBytes)); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}
