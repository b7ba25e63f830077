package campaign_test

import (
	"math/rand/v2"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
)

const sectorSize = 512

// A place is where a disk is harmed.
type place struct {
	machine.Region
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
		other.at = p.Off + p.rnd.Int64N(p.Len)
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
		return &blockdevtest.BadSector{Device: img, At: p.sector()}
	}},
	{"a sector that cannot be written", func(_ *testing.T, img *blockdevtest.Image, p place) blockdev.Device {
		return &blockdevtest.BadSector{Device: img, At: p.sector(), Stuck: true}
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

func read(t *testing.T, dev blockdev.Device, p []byte, off int64) {
	t.Helper()
	if _, err := dev.ReadAt(p, off); err != nil {
		t.Fatal(err)
	}
}
