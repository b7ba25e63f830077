package partitions

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/verity"
)

// SlotContent is what a slot says of itself.
type SlotContent struct {
	Footer      Footer
	Manifest    *manifest.Manifest
	ManifestRaw []byte // the bytes that signatures are made over
	Signatures  []byte // nil when unsigned
}

// ReadSlot reads the footer, manifest and signatures of a slot and checks
// them against each other. It reads neither the image nor the tree. The error
// is ErrEmpty for a slot without a footer, else it wraps ErrCorrupt, ErrNewer
// or the device's error.
func ReadSlot(dev blockdev.Device) (*SlotContent, error) {
	c, err := readSlot(dev)
	if errors.Is(err, ErrCorrupt) {
		err = fault.Wrap(fault.Verify, err)
	}
	return c, err
}

func readSlot(dev blockdev.Device) (*SlotContent, error) {
	if dev.Size() < 2*FooterSize {
		return nil, fmt.Errorf("reading slot footer: a slot of %d bytes: %w", dev.Size(), ErrCorrupt)
	}
	b := make([]byte, FooterSize)
	if err := readFull(dev, b, dev.Size()-FooterSize); err != nil {
		return nil, fmt.Errorf("reading slot footer: %w", err)
	}
	f, err := DecodeFooter(b)
	if err != nil {
		return nil, err
	}
	if f.SlotBytes != dev.Size() {
		return nil, fmt.Errorf("slot footer: is of a slot of %d bytes, this one has %d: %w", f.SlotBytes, dev.Size(), ErrCorrupt)
	}
	c := &SlotContent{Footer: f}
	if c.ManifestRaw, err = readChecked(dev, "manifest", f.ManifestOff, f.ManifestBytes, f.ManifestCRC); err != nil {
		return nil, err
	}
	if c.Signatures, err = readChecked(dev, "signatures", f.SignaturesOff, f.SignatureBytes, f.SignaturesCRC); err != nil {
		return nil, err
	}
	if c.Manifest, err = manifest.Decode(c.ManifestRaw); err != nil {
		return nil, fmt.Errorf("reading the slot's manifest: %w: %w", err, ErrCorrupt)
	}
	return c, c.check()
}

func readChecked(dev blockdev.Device, what string, off, size int64, sum uint32) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	b := make([]byte, size)
	if err := readFull(dev, b, off); err != nil {
		return nil, fmt.Errorf("reading the slot's %s: %w", what, err)
	}
	if got := crc32.Checksum(b, castagnoli); got != sum {
		return nil, fmt.Errorf("reading the slot's %s: CRC %08x, footer says %08x: %w", what, got, sum, ErrCorrupt)
	}
	return b, nil
}

// check compares what the footer and the manifest both say.
func (c *SlotContent) check() error {
	m, f := c.Manifest, c.Footer
	root, err := m.RootHashBytes()
	switch {
	case err != nil:
		return err
	case m.ImageBytes != f.ImageBytes || m.HashOffset != f.HashOff || m.TreeBytes != f.TreeBytes:
		return fmt.Errorf("the slot's manifest tells of image %d, tree %d+%d; the footer of %d, %d+%d: %w",
			m.ImageBytes, m.HashOffset, m.TreeBytes, f.ImageBytes, f.HashOff, f.TreeBytes, ErrCorrupt)
	case !bytes.Equal(root, f.RootHash[:]):
		return fmt.Errorf("the slot's manifest has root hash %x, the footer %x: %w", root, f.RootHash, ErrCorrupt)
	}
	return nil
}

// Tree reads the slot's hash tree and checks it up to the root hash.
func (c *SlotContent) Tree(dev blockdev.Device) (*verity.Tree, error) {
	t, err := readTree(dev, c.Footer.HashOff, c.Footer.TreeBytes, c.Footer.RootHash[:])
	if err != nil {
		return nil, err
	}
	if salt := hex.EncodeToString(t.Salt); salt != c.Manifest.Salt || t.DataBlocks != c.Manifest.DataBlocks {
		return nil, fault.Errorf(fault.Verify, "the slot's hash tree has salt %s and %d blocks; the manifest %s and %d: %w",
			salt, t.DataBlocks, c.Manifest.Salt, c.Manifest.DataBlocks, ErrCorrupt)
	}
	return t, nil
}

// Image is the squashfs of the slot.
func (c *SlotContent) Image(dev blockdev.Device) (*blockdev.Section, error) {
	return blockdev.NewSection(dev, 0, c.Footer.ImageBytes)
}

// Layers reads the list of the layers that the image was made of, and compares
// it with the manifest, so it is as trusted as that is. It is nil when the
// slot has none.
func (c *SlotContent) Layers(dev blockdev.Device) ([]byte, error) {
	f := &c.Footer
	b, err := readChecked(dev, "list of layers", f.LayersOff, f.LayersBytes, f.LayersCRC)
	if err == nil && b != nil {
		err = checkLayers(c.Manifest, b)
	}
	if errors.Is(err, ErrCorrupt) {
		err = fault.Wrap(fault.Verify, err)
	}
	return b, err
}

// checkLayers compares a list of layers with the hash in the manifest.
func checkLayers(m *manifest.Manifest, list []byte) error {
	if got := fmt.Sprintf("%x", sha256.Sum256(list)); got != m.Layers {
		return fmt.Errorf("the slot's list of layers has SHA-256 %s, the manifest says %q: %w", got, m.Layers, ErrCorrupt)
	}
	return nil
}

func readTree(dev blockdev.Device, off, size int64, root []byte) (*verity.Tree, error) {
	sec, err := blockdev.NewSection(dev, off, size)
	if err != nil {
		return nil, fmt.Errorf("reading the slot's hash tree: %w", err)
	}
	t, err := verity.ReadTree(sec, size, root)
	if errors.Is(err, verity.ErrCorrupt) {
		return nil, fault.Errorf(fault.Verify, "reading the slot's hash tree: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the slot's hash tree: %w", err)
	}
	return t, nil
}
