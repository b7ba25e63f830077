package partitions_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/partitions"
)

const fuzzSize = 70 * mib

// newFuzzDisk is a disk that begins and ends with the given bytes.
func newFuzzDisk(head, tail []byte) *blockdevtest.Image {
	img := blockdevtest.NewImage(zeros(fuzzSize))
	head, tail = head[:min(len(head), 64<<10)], tail[:min(len(tail), 64<<10)]
	if _, err := img.WriteAt(head, 0); err != nil {
		panic(err)
	}
	if _, err := img.WriteAt(tail, fuzzSize-int64(len(tail))); err != nil {
		panic(err)
	}
	return img
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
	_, medium := newDisk(f, fuzzSize)
	head, tail := make([]byte, 34*512), make([]byte, 33*512)
	for off, b := range map[int64][]byte{0: head, fuzzSize - 33*512: tail} {
		if _, err := medium.ReadAt(b, off); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(head, tail, false)
	f.Add(head, tail, true)
	f.Add(head[:1024], tail, true)
	f.Add([]byte(nil), tail, true)
	huge := bytes.Clone(head)
	binary.LittleEndian.PutUint32(huge[512+80:], 1<<31) // entries that no memory holds
	binary.LittleEndian.PutUint32(huge[512+84:], 1<<31)
	f.Add(huge, tail, true)
	f.Fuzz(func(t *testing.T, head, tail []byte, seal bool) {
		if seal {
			head, tail = slices.Clone(head), slices.Clone(tail)
			if len(head) > 1024+128 {
				sealGPT(head[512:], head[1024:])
			}
			if len(tail) > 1024 {
				sealGPT(tail[len(tail)-512:], tail[:len(tail)-512])
			}
		}
		img := newFuzzDisk(head, tail)
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
