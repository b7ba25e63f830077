package partitions_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/verity"
)

// soundFooter is of a slot of 1 MiB with an image of 100 blocks.
func soundFooter() partitions.Footer {
	return partitions.Footer{
		SlotBytes: mib, ImageBytes: 400 << 10, HashOff: 400 << 10, TreeBytes: 8192,
		ManifestOff: 408 << 10, ManifestBytes: 700, SignaturesOff: 412 << 10, SignatureBytes: 5000,
		LayersOff: 420 << 10, LayersBytes: 9000,
		ManifestCRC: 0x12345678, SignaturesCRC: 0x9abcdef0, LayersCRC: 0xfedcba98, RootHash: [32]byte{1, 2, 3},
	}
}

// seal brings a footer's CRC up to date after a change.
func seal(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[4092:], crc32.Checksum(b[:4092], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func TestFooterRoundTrip(t *testing.T) {
	far := soundFooter()
	const off = 5 << 40 // nothing may be 32 bits wide
	far.SlotBytes, far.ImageBytes, far.HashOff = 2*off, off, off
	far.TreeBytes = off / 126 / 4096 * 4096
	far.ManifestOff = off + far.TreeBytes
	far.SignaturesOff = far.ManifestOff + 4096
	far.LayersOff = far.SignaturesOff + 8192
	unsigned := soundFooter()
	unsigned.SignatureBytes, unsigned.SignaturesCRC, unsigned.LayersOff = 0, 0, 412<<10
	plain := soundFooter()
	plain.LayersOff, plain.LayersBytes, plain.LayersCRC = 0, 0, 0
	for name, want := range map[string]partitions.Footer{"sound": soundFooter(), "past 4 GiB": far, "unsigned": unsigned, "no layers": plain} {
		b := want.Encode()
		got, err := partitions.DecodeFooter(b[:])
		if err != nil {
			t.Errorf("%s: DecodeFooter() = %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: DecodeFooter(Encode()) mismatch (-want +got):\n%s", name, diff)
		}
	}
}

func TestDecodeFooterRefuses(t *testing.T) {
	put64 := func(off int, v int64) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint64(b[off:], uint64(v)); return seal(b) }
	}
	tests := []struct {
		name    string
		corrupt func([]byte) []byte
		want    error
		text    string
	}{
		{"all zero", func(b []byte) []byte { clear(b); return b }, partitions.ErrEmpty, ""},
		{"one bit", func(b []byte) []byte { b[2000] ^= 1; return b }, partitions.ErrCorrupt, "CRC"},
		{"its CRC", func(b []byte) []byte { b[4095] ^= 1; return b }, partitions.ErrCorrupt, "CRC"},
		{"first sector only", func(b []byte) []byte { clear(b[512:]); return b }, partitions.ErrCorrupt, "CRC"},
		{"all but the first sector", func(b []byte) []byte { clear(b[:512]); return b }, partitions.ErrCorrupt, "magic"},
		{"magic", func(b []byte) []byte { b[0] = 'a'; return seal(b) }, partitions.ErrCorrupt, "magic"},
		{"newer version", func(b []byte) []byte { b[8] = 2; return seal(b) }, partitions.ErrNewer, "version 2; this program knows 1"},
		{"too short", func(b []byte) []byte { return b[:4095] }, partitions.ErrCorrupt, "4095 bytes"},
		{"no slot", put64(16, 0), partitions.ErrCorrupt, "a slot of 0"},
		{"negative slot", put64(16, -4096), partitions.ErrCorrupt, "a slot of -4096"},
		{"no image", put64(24, 0), partitions.ErrCorrupt, "an image of 0"},
		{"image of no whole blocks", put64(24, 400<<10+1), partitions.ErrCorrupt, "an image of"},
		{"image larger than the slot", put64(24, 2*mib), partitions.ErrCorrupt, "an image of"},
		{"tree not behind the image", put64(32, 404<<10), partitions.ErrCorrupt, "the hash tree at byte"},
		{"no tree", put64(40, 0), partitions.ErrCorrupt, "a hash tree of 0"},
		{"tree that overflows", put64(40, 1<<62), partitions.ErrCorrupt, "a hash tree of"},
		{"manifest not behind the tree", put64(48, 0), partitions.ErrCorrupt, "the manifest at byte 0"},
		{"no manifest", put64(56, 0), partitions.ErrCorrupt, "a manifest of 0"},
		{"manifest too large", put64(56, manifest.MaxSize+1), partitions.ErrCorrupt, "a manifest of"},
		{"signatures not behind the manifest", put64(64, 408<<10), partitions.ErrCorrupt, "signatures at byte"},
		{"negative signatures", put64(72, -1), partitions.ErrCorrupt, "signatures of -1"},
		{"signatures too large", put64(72, partitions.MaxSignatures+1), partitions.ErrCorrupt, "signatures of"},
		{"layers not behind the signatures", put64(120, 424<<10), partitions.ErrCorrupt, "a list of layers at byte"},
		{"layers of no bytes", put64(128, 0), partitions.ErrCorrupt, "a list of layers of 0"},
		{"negative layers", put64(128, -1), partitions.ErrCorrupt, "a list of layers of -1"},
		{"layers too large", put64(128, partitions.MaxLayers+1), partitions.ErrCorrupt, "a list of layers of"},
		{"layers reach into the footer", put64(128, 604<<10-4095), partitions.ErrCorrupt, "into the footer"},
		{"contents reach into the footer", put64(16, 416<<10+4096), partitions.ErrCorrupt, "into the footer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := soundFooter().Encode()
			_, err := partitions.DecodeFooter(tt.corrupt(b[:]))
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("DecodeFooter() = %v; want %v with %q", err, tt.want, tt.text)
			}
		})
	}
}

func FuzzDecodeFooter(f *testing.F) {
	b := soundFooter().Encode()
	f.Add(b[:128])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		b := make([]byte, partitions.FooterSize)
		copy(b, in)
		_, _ = partitions.DecodeFooter(b)
		seal(b) // past the CRC, to where the fields are
		got, err := partitions.DecodeFooter(b)
		if err != nil {
			return
		}
		// What is accepted lies within the slot, in order.
		end := max(got.SignaturesOff+got.SignatureBytes, got.LayersOff+got.LayersBytes)
		if !(0 < got.HashOff && got.HashOff < got.ManifestOff && got.ManifestOff < got.SignaturesOff && end <= got.SlotBytes-partitions.FooterSize) {
			t.Errorf("DecodeFooter() accepts %+v", got)
		}
		again := got.Encode()
		if f2, err := partitions.DecodeFooter(again[:]); err != nil || f2 != got {
			t.Errorf("DecodeFooter(Encode(%+v)) = %+v, %v", got, f2, err)
		}
	})
}

// treeBytes asks package verity for the length of a tree over n blocks.
func treeBytes(t *testing.T, blocks int64) int64 {
	t.Helper()
	tree, err := verity.Build(zeroReader{}, blocks*verity.BlockSize, verity.DefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	return tree.Bytes()
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestCapacity(t *testing.T) {
	const overhead = partitions.FooterSize + manifest.MaxSize + partitions.MaxSignatures
	for _, blocks := range []int64{1, 2, 3, 127, 128, 129, 255, 256, 257, 128*128 - 1, 128 * 128, 128*128 + 1} {
		size := blocks*4096 + treeBytes(t, blocks) + overhead
		if got := partitions.SlotSize(blocks * 4096); got != size {
			t.Errorf("SlotSize(%d blocks) = %d; want %d", blocks, got, size)
		}
		if got := partitions.Capacity(size); got != blocks*4096 {
			t.Errorf("Capacity(%d) = %d blocks; want %d", size, got/4096, blocks)
		}
		if got := partitions.Capacity(size - 1); got >= blocks*4096 {
			t.Errorf("Capacity(%d) = %d blocks; want fewer than %d", size-1, got/4096, blocks)
		}
	}
	for _, size := range []int64{-1, 0, 4096, overhead, overhead + 4096} {
		if got := partitions.Capacity(size); got != 0 {
			t.Errorf("Capacity(%d) = %d; want 0", size, got)
		}
	}
	for _, size := range []int64{2 << 30, 5<<30 + 4096, 3 << 40} {
		n := partitions.Capacity(size)
		if partitions.SlotSize(n) > size || partitions.SlotSize(n+4096) <= size {
			t.Errorf("Capacity(%d) = %d is not the largest", size, n)
		}
	}
}
