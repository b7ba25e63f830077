package partitions_test

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/partitions"
)

const fuzzSize = 70 * mib

// A patch of FuzzOpen is 11 bytes: a region, an offset in it, and 8 bytes to
// put there. Small inputs let the fuzzer work on fields, not on noise.
const patchSize = 11

// regions are the sectors that Open looks at.
var regions = []struct{ off, size int64 }{
	{0, 512}, {512, 512}, {1024, 5 * 128}, {fuzzSize - 512, 512}, {fuzzSize - 33*512, 5 * 128}, {0, 34 * 512}, {fuzzSize - 33*512, 33 * 512},
}

func applyPatches(img *blockdevtest.Image, prog []byte) {
	for ; len(prog) >= patchSize; prog = prog[patchSize:] {
		r := regions[int(prog[0])%len(regions)]
		at := int64(binary.LittleEndian.Uint16(prog[1:])) % (r.size - 7)
		if _, err := img.WriteAt(prog[3:patchSize], r.off+at); err != nil {
			panic(err)
		}
	}
}

// sealCopy makes the CRCs of one copy of the table right.
func sealCopy(img *blockdevtest.Image, hdrOff, arrayOff int64) {
	hdr, array := make([]byte, 512), make([]byte, 32*512)
	for off, b := range map[int64][]byte{hdrOff: hdr, arrayOff: array} {
		if _, err := img.ReadAt(b, off); err != nil {
			panic(err)
		}
	}
	sealGPT(hdr, array)
	if _, err := img.WriteAt(hdr, hdrOff); err != nil {
		panic(err)
	}
}

// sealGPT makes CRCs right, so that the fuzzer gets past them: of a header in
// the first sector of b, over entries that begin at array.
func sealGPT(hdr, array []byte) {
	if len(hdr) < 512 || len(array) < 128 {
		return
	}
	copy(hdr, "EFI PART")
	le := binary.LittleEndian
	if n := uint64(le.Uint32(hdr[80:])) * uint64(le.Uint32(hdr[84:])); n <= uint64(len(array)) {
		le.PutUint32(hdr[88:], crc32.ChecksumIEEE(array[:n]))
	}
	size := le.Uint32(hdr[12:])
	if size < 92 || size > 512 {
		size = 92
		le.PutUint32(hdr[12:], size)
	}
	clear(hdr[16:20])
	le.PutUint32(hdr[16:], crc32.ChecksumIEEE(hdr[:size]))
}

// FuzzOpen reads hostile partition tables. It must not panic or take more
// than a bounded amount of memory, and what it accepts must lie on the disk.
func FuzzOpen(f *testing.F) {
	_, base := newDisk(f, fuzzSize)
	disk := section(f, base, fuzzSize)
	patch := func(region byte, off uint16, value uint64) []byte {
		b := binary.LittleEndian.AppendUint16([]byte{region}, off)
		return binary.LittleEndian.AppendUint64(b, value)
	}
	f.Add([]byte(nil), false)
	f.Add(patch(1, 0, 0), false)                                                      // no primary header
	f.Add(patch(1, 80, 1<<63|1<<31), true)                                            // entries that no memory holds
	f.Add(patch(1, 72, 1<<63), true)                                                  // entries nowhere
	f.Add(patch(1, 48, 1<<63), true)                                                  // usable up to nowhere
	f.Add(patch(2, 4*128+40, 1<<62), true)                                            // a partition without end
	f.Add(slices.Concat(patch(1, 0, 0), patch(3, 24, 1), patch(0, 454, 1<<40)), true) // a backup that says it is primary
	f.Add(slices.Concat(patch(1, 12, 92<<32), patch(1, 32, 34)), true)
	f.Fuzz(func(t *testing.T, prog []byte, seal bool) {
		img := blockdevtest.NewImage(disk)
		applyPatches(img, prog)
		if seal {
			sealCopy(img, 512, 1024)
			sealCopy(img, fuzzSize-512, fuzzSize-33*512)
		}
		d, err := partitions.Open(img)
		if err != nil {
			return
		}
		end := int64(0)
		parts := d.Partitions()
		slices.SortFunc(parts, func(a, b partitions.Partition) int { return int((a.Off - b.Off) / 512) })
		for _, p := range parts {
			if p.Off < end || p.Size <= 0 || p.Off+p.Size > fuzzSize {
				t.Fatalf("Open() accepts partition %+v behind byte %d", p, end)
			}
			end = p.Off + p.Size
		}
		// Growing it is safe, and the result is a disk that opens the same.
		if _, err := partitions.GrowLast(img); err != nil {
			return
		}
		again, err := partitions.Open(img)
		if err != nil || again.FromBackup() || len(again.Partitions()) != len(parts) {
			t.Fatalf("Open() after GrowLast = %v, %v", again, err)
		}
		if changed, err := partitions.GrowLast(img); changed || err != nil {
			t.Fatalf("GrowLast() again = %v, %v; want false, nil", changed, err)
		}
	})
}

// FuzzReadSlot reads hostile slots: any footer with a right CRC, and any
// manifest where it points.
func FuzzReadSlot(f *testing.F) {
	b := soundFooter().Encode()
	f.Add(b[:128], []byte("{}"), int64(408<<10))
	f.Fuzz(func(t *testing.T, foot, body []byte, off int64) {
		img := blockdevtest.NewImage(zeros(mib))
		block := make([]byte, partitions.FooterSize)
		copy(block, foot)
		seal(block)
		if _, err := img.WriteAt(block, mib-partitions.FooterSize); err != nil {
			t.Fatal(err)
		}
		if off >= 0 && off < mib-8192 {
			if _, err := img.WriteAt(body[:min(len(body), 4096)], off); err != nil {
				t.Fatal(err)
			}
		}
		c, err := partitions.ReadSlot(img)
		if err != nil {
			return
		}
		if _, err := c.Image(img); err != nil {
			t.Errorf("Image() = %v", err)
		}
		_, _ = c.Tree(img)
	})
}
