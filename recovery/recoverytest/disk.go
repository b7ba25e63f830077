// Package recoverytest makes small disks with slots in memory, for tests of
// what boots and repairs them.
package recoverytest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/verity"
)

// Kernel is the release that the slots' manifests name.
const Kernel = "6.1.0-test"

// A Disk is a disk in memory with a layout.
type Disk struct {
	Dev    *blockdevtest.Image
	Layout *partitions.Disk
}

// zeros is a Device that reads as zero and holds no memory.
type zeros struct{ size int64 }

func (z zeros) Size() int64                        { return z.size }
func (z zeros) Sync() error                        { return nil }
func (z zeros) WriteAt([]byte, int64) (int, error) { panic("recoverytest: write to the base") }
func (z zeros) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(int64(len(p)), max(0, z.size-off)))
	clear(p[:n])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// NewDisk returns a disk of size bytes with the smallest layout, with or
// without a recovery slot, and its boot state: new.
func NewDisk(t testing.TB, size int64, recovery bool) *Disk {
	t.Helper()
	l := disk.Layout{ESP: disk.MinESP, Slot: disk.MinSlot, Var: disk.MinVar}
	if recovery {
		l.Recovery = disk.MinSlot
	}
	if size == 0 {
		size = int64(l.MinDisk())
	}
	dev := blockdevtest.NewImage(zeros{size})
	layout, err := disk.Create(dev, l, disk.Options{Rand: rand.NewChaCha8([32]byte{1})})
	if err != nil {
		t.Fatal(err)
	}
	d := &Disk{dev, layout}
	d.SetState(t, bootctl.New())
	return d
}

// Open reads the layout of another device that is a copy of such a disk.
func Open(t testing.TB, dev blockdev.Device) *partitions.Disk {
	t.Helper()
	layout, err := partitions.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	return layout
}

// Store is the boot state of a disk.
func Store(t testing.TB, layout *partitions.Disk) *bootctl.Store {
	t.Helper()
	dev, err := layout.State()
	if err != nil {
		t.Fatal(err)
	}
	return bootctl.Open(dev)
}

// SetState formats the boot state partition.
func (d *Disk) SetState(t testing.TB, s bootctl.State) {
	t.Helper()
	dev, err := d.Layout.State()
	if err == nil {
		err = bootctl.Format(dev, s)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// State loads the boot state.
func (d *Disk) State(t testing.TB) bootctl.State {
	t.Helper()
	s, err := Store(t, d.Layout).Load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Blocks is the length of a test image.
const Blocks = 140 // more than one hash block

// Image returns the bytes of the image of a version: not a file system, but
// like one in having its own content.
func Image(version string) []byte {
	var seed [32]byte
	copy(seed[:], version)
	b := make([]byte, Blocks*verity.BlockSize)
	if _, err := rand.NewChaCha8(seed).Read(b); err != nil {
		panic(err)
	}
	return b
}

// Layers is what the slot of a version has for the list of its layers.
func Layers(version string) []byte { return []byte("the layers of " + version) }

// FillSlot writes a version into a slot, and returns what the boot state is to
// say of it. The manifest can be changed before it is written.
func (d *Disk) FillSlot(t testing.TB, slot bootctl.Slot, version string, change ...func(*manifest.Manifest)) bootctl.SlotInfo {
	t.Helper()
	return d.FillSigned(t, slot, version, nil, change...)
}

// FillSigned is FillSlot with the signatures that sign makes for the encoded
// manifest.
func (d *Disk) FillSigned(t testing.TB, slot bootctl.Slot, version string, sign func(manifest []byte) []byte, change ...func(*manifest.Manifest)) bootctl.SlotInfo {
	t.Helper()
	dev, err := d.Layout.Slot(slot)
	if err != nil {
		t.Fatal(err)
	}
	image := Image(version)
	tree, err := verity.Build(bytes.NewReader(image), int64(len(image)), verity.DefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	m := manifest.Manifest{
		Format: manifest.FormatVersion, Version: version, Architecture: runtime.GOARCH, Kernel: Kernel,
		RootHash: hex.EncodeToString(tree.RootHash), Salt: hex.EncodeToString(tree.Salt),
		DataBlocks: tree.DataBlocks, ImageBytes: int64(len(image)), HashOffset: int64(len(image)),
		TreeBytes: tree.Bytes(), Encoder: "test", SourceDigest: "sha256:" + version,
		Layers: fmt.Sprintf("%x", sha256.Sum256(Layers(version))),
	}
	for _, c := range change {
		c(&m)
	}
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var signatures []byte
	if sign != nil {
		signatures = sign(raw)
	}
	w := partitions.NewSlotWriter(dev)
	w.Attach(Layers(version))
	for _, step := range []func() error{
		w.Begin,
		func() error { _, err := w.Write(image[verity.BlockSize:]); return err },
		func() error { return w.WriteFirst(image[:verity.BlockSize]) },
		func() error { return w.WriteTree(tree) },
		func() error { return w.ReadBack(context.Background(), tree.RootHash, nil) },
		func() error { return w.Commit(raw, signatures) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return bootctl.SlotInfo{Version: m.Version, Digest: m.SourceDigest, RootHash: m.RootHash}
}
