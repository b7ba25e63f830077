package partitions_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/partitions"
)

// withLayers gives an image a list of layers of n bytes.
func withLayers(t testing.TB, im img, n int) img {
	t.Helper()
	m, err := manifest.Decode(im.manifest)
	if err != nil {
		t.Fatal(err)
	}
	im.layers = bytes.Repeat([]byte("layer"), n/5+1)[:n]
	m.Layers = fmt.Sprintf("%x", sha256.Sum256(im.layers))
	if im.manifest, err = m.Encode(); err != nil {
		t.Fatal(err)
	}
	return im
}

// A list of layers is kept where there is room, and its absence is no fault.
func TestLayersInSlot(t *testing.T) {
	small := partitions.SlotSize(300 * 4096)
	const manifestRoom, signatures = 64<<10 - 4096, 64 << 10 // that a small manifest and no signatures leave
	for _, tt := range []struct {
		name   string
		bytes  int
		slot   int64
		sigs   []byte
		wanted bool
	}{
		{"none", 0, small + 8<<20, nil, false},
		{"one byte", 1, small + 4096, nil, true},
		{"behind signatures", 50_000, small, bytes.Repeat([]byte("s"), 9000), true},
		{"all the room there is", manifestRoom + signatures, small, nil, true},
		{"one byte too many", manifestRoom + signatures + 1, small, nil, false},
		{"the most", partitions.MaxLayers, small + partitions.MaxLayers, nil, true},
		{"more than the most", partitions.MaxLayers + 1, small + 2*partitions.MaxLayers, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			im := withLayers(t, newImage(t, 300, 1), tt.bytes)
			dev := dirty(tt.slot)
			if err := write(dev, im, tt.sigs, nil); err != nil {
				t.Fatal(err)
			}
			c, err := partitions.ReadSlot(dev)
			if err != nil {
				t.Fatal(err)
			}
			checkContent(t, dev, c, im)
			if !bytes.Equal(c.Signatures, tt.sigs) {
				t.Errorf("signatures of %d bytes; want %d", len(c.Signatures), len(tt.sigs))
			}
			var want []byte
			if tt.wanted {
				want = im.layers
			}
			if got, err := c.Layers(dev); err != nil || !bytes.Equal(got, want) {
				t.Errorf("Layers() = %d bytes, %v; want %d", len(got), err, len(want))
			}
		})
	}
}

// A list that is not what the manifest says is no list, and the slot is sound.
func TestLayersThatChanged(t *testing.T) {
	im := withLayers(t, newImage(t, 30, 1), 5000)
	dev := dirty(partitions.SlotSize(int64(len(im.data))))
	if err := write(dev, im, nil, nil); err != nil {
		t.Fatal(err)
	}
	c, err := partitions.ReadSlot(dev)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*partitions.SlotContent){
		"its bytes": func(*partitions.SlotContent) { dev.WriteAt([]byte{0}, c.Footer.LayersOff+4999) },
		"bytes and CRC": func(c *partitions.SlotContent) {
			c.Footer.LayersBytes, c.Footer.LayersCRC = 1, crc32.Checksum([]byte("l"), crc32.MakeTable(crc32.Castagnoli))
		},
		"another slot's":  func(c *partitions.SlotContent) { c.Manifest.Layers = fmt.Sprintf("%x", sha256.Sum256(nil)) },
		"not in manifest": func(c *partitions.SlotContent) { c.Manifest.Layers = "" },
	} {
		t.Run(name, func(t *testing.T) {
			c, err := partitions.ReadSlot(dev)
			if err != nil {
				t.Fatal(err)
			}
			change(c)
			if got, err := c.Layers(dev); !errors.Is(err, partitions.ErrCorrupt) || fault.KindOf(err) != fault.Verify {
				t.Errorf("Layers() = %d bytes, %v; want ErrCorrupt", len(got), err)
			}
			if c, err := partitions.ReadSlot(dev); err != nil {
				t.Errorf("ReadSlot() = %v", err)
			} else {
				checkContent(t, dev, c, im)
			}
			dev.WriteAt(im.layers, c.Footer.LayersOff)
		})
	}
}

func TestCommitChecksLayers(t *testing.T) {
	im := withLayers(t, newImage(t, 30, 1), 5000)
	size := partitions.SlotSize(int64(len(im.data)))
	other := im
	other.layers = []byte("of another image")
	if err := write(dirty(size), other, nil, nil); fault.KindOf(err) != fault.Verify {
		t.Errorf("Commit() with another list = %v; want kind Verify", err)
	}
	inj := blockdevtest.Inject(dirty(size), blockdevtest.Faults{OnRead: func(_ int, p []byte, _ int64) {
		if bytes.HasPrefix(p, []byte("layerlayer")) {
			p[4000] ^= 1
		}
	}})
	if err := write(inj, im, nil, nil); !errors.Is(err, partitions.ErrCorrupt) || fault.KindOf(err) != fault.Verify {
		t.Errorf("Commit() on a medium that changes the list = %v; want ErrCorrupt", err)
	}
}

// The cuts of a write that has a list leave what TestSlotWriterCrash says.
func TestLayersCrash(t *testing.T) {
	old, new := newImage(t, 30, 1), withLayers(t, newImage(t, 52, 2), 9000)
	base := dirty(partitions.SlotSize(int64(len(new.data))))
	if err := write(base, old, nil, nil); err != nil {
		t.Fatal(err)
	}
	rec := blockdevtest.NewRecorder(base)
	if err := write(rec, new, nil, nil); err != nil {
		t.Fatal(err)
	}
	found := 0
	for image, cut := range rec.Crashes() {
		c, err := partitions.ReadSlot(image)
		if err != nil || c.Footer.ImageBytes != int64(len(new.data)) {
			continue
		}
		found++
		if got, err := c.Layers(image); err != nil || !bytes.Equal(got, new.layers) {
			t.Fatalf("cut %v: a new footer, and Layers() = %d bytes, %v", cut, len(got), err)
		}
	}
	if found == 0 {
		t.Error("no cut with a new footer")
	}
}
