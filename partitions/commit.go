package partitions

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"hash/crc32"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
)

// Attach has Commit keep the list of the image's layers in the slot, if there
// is room for it: the system works without. The manifest has its hash.
func (w *SlotWriter) Attach(layers []byte) { w.layers = layers }

// Commit writes the manifest with its signatures, then the footer. When it
// returns nil the slot is complete and has been read back; signatures may be
// nil.
func (w *SlotWriter) Commit(manifestRaw, signatures []byte) error {
	if err := w.at(verified); err != nil {
		return err
	}
	if err := w.describe(manifestRaw, signatures); err != nil {
		return w.fail(err)
	}
	sigAt := w.foot.SignaturesOff - w.foot.ManifestOff
	body := make([]byte, sigAt+align(w.foot.SignatureBytes)+align(w.foot.LayersBytes))
	copy(body, manifestRaw)
	copy(body[sigAt:], signatures)
	if w.foot.LayersBytes > 0 {
		copy(body[w.foot.LayersOff-w.foot.ManifestOff:], w.layers)
	}
	if _, err := w.dev.WriteAt(body, w.foot.ManifestOff); err != nil {
		return w.fail(fmt.Errorf("writing the slot's manifest: %w", err))
	}
	// The manifest must be there before the footer may point at it.
	if err := w.settle(w.foot.ManifestOff, w.footAt); err != nil {
		return err
	}
	b := w.foot.Encode()
	if _, err := w.dev.WriteAt(b[:], w.footAt); err != nil {
		return w.fail(fmt.Errorf("writing the slot's footer: %w", err))
	}
	if err := w.settle(w.foot.ManifestOff, w.dev.Size()); err != nil {
		return err
	}
	c, err := ReadSlot(w.dev)
	if err != nil {
		return w.fail(fmt.Errorf("reading the slot back: %w", err))
	}
	if c.Footer != w.foot || !bytes.Equal(c.ManifestRaw, manifestRaw) || !bytes.Equal(c.Signatures, signatures) {
		return w.fail(fault.Errorf(fault.Verify, "reading the slot back: manifest or footer differ from what was written: %w", ErrCorrupt))
	}
	if _, err := c.Layers(w.dev); err != nil {
		return w.fail(fmt.Errorf("reading the slot back: %w", err))
	}
	w.stage = committed
	return nil
}

// describe completes the footer and makes sure that the manifest tells of
// what was written.
func (w *SlotWriter) describe(manifestRaw, signatures []byte) error {
	m, err := manifest.Decode(manifestRaw)
	if err != nil {
		return fault.Errorf(fault.Verify, "writing the slot's manifest: %w", err)
	}
	if salt := hex.EncodeToString(w.tree.Salt); m.Salt != salt {
		return fault.Errorf(fault.Verify, "writing the slot's manifest: it has salt %s, the tree %s", m.Salt, salt)
	}
	if len(signatures) > MaxSignatures {
		return fault.Errorf(fault.NoRoom, "writing the slot's signatures: %d bytes, at most %d", len(signatures), MaxSignatures)
	}
	f := &w.foot
	f.ManifestBytes, f.SignatureBytes = int64(len(manifestRaw)), int64(len(signatures))
	f.SignaturesOff = f.ManifestOff + align(f.ManifestBytes)
	f.ManifestCRC = crc32.Checksum(manifestRaw, castagnoli)
	f.SignaturesCRC = crc32.Checksum(signatures, castagnoli)
	if err := w.placeLayers(m); err != nil {
		return fault.Wrap(fault.Verify, err)
	}
	if err := f.check(); err != nil {
		return err
	}
	c := SlotContent{Footer: *f, Manifest: m}
	if err := c.check(); err != nil {
		return fault.Wrap(fault.Verify, err)
	}
	return nil
}

// placeLayers decides where the list of layers goes, if it does.
func (w *SlotWriter) placeLayers(m *manifest.Manifest) error {
	f, size := &w.foot, int64(len(w.layers))
	off := f.SignaturesOff + align(f.SignatureBytes)
	if size == 0 || size > MaxLayers || off+align(size) > w.footAt {
		return nil
	}
	f.LayersOff, f.LayersBytes, f.LayersCRC = off, size, crc32.Checksum(w.layers, castagnoli)
	return checkLayers(m, w.layers)
}
