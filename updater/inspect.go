package updater

import (
	"context"
	"errors"
	"fmt"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
)

// Inspected tells what an image, an update, or a slot is. The manifest of an
// ordinary image lacks sizes and hashes: they come to be when it is built.
type Inspected struct {
	Kind string `json:"kind"` // "image", "update" or "slot"
	Name string `json:"name"`
	// Digest is that of the OCI manifest; a slot has none.
	Digest string `json:"digest,omitempty"`
	manifest.Manifest
	Layers    int            `json:"layers,omitempty"`
	Files     int            `json:"files,omitempty"`
	FileBytes int64          `json:"file_bytes,omitempty"`
	Fetched   int64          `json:"download_bytes,omitempty"` // compressed
	Dropped   map[string]int `json:"dropped_xattrs,omitempty"`
	SlotBytes int64          `json:"slot_bytes,omitempty"`
	Signed    bool           `json:"signed"`
}

// Inspect reads an image or an update. The layers of an ordinary image are
// read to their end.
func Inspect(ctx context.Context, name string, opt SourceOptions, progress Progress) (*Inspected, error) {
	ref, err := oci.ParseReference(name)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err)
	}
	opt.Registry.Progress = registryProgress(progress)
	img, err := oci.Resolve(ctx, ref, opt.Registry)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	in := &Inspected{Kind: "image", Name: ref.String(), Digest: img.Digest(), Layers: len(img.Layers()), Fetched: img.Size()}
	source := newSource(img, opt, progress)
	if img, ok := source.(*imageSource); ok {
		img.opt.NoKernel = true
	} else {
		in.Kind = "update"
	}
	if in.Manifest, err = source.describe(ctx); err != nil {
		return nil, err
	}
	if img, ok := source.(*imageSource); ok {
		in.Files, in.FileBytes, in.Dropped = img.plan.Files, img.plan.Bytes, img.plan.Dropped
	}
	return in, nil
}

// InspectSlot reads what a slot says of itself.
func (s *System) InspectSlot(slot bootctl.Slot) (*Inspected, error) {
	sec, err := s.slot(slot)
	if err != nil {
		return nil, err
	}
	return inspectSlot(fmt.Sprintf("slot %v of %s", slot, s.name), sec)
}

// InspectRaw reads the file that build --raw made.
func InspectRaw(path string) (*Inspected, error) {
	dev, err := blockdev.Open(path, blockdev.ReadOnly)
	if err != nil {
		return nil, fault.Errorf(fault.Usage, "opening the slot image: %w", err)
	}
	defer dev.Close()
	return inspectSlot(path, dev)
}

func inspectSlot(name string, dev blockdev.Device) (*Inspected, error) {
	content, err := partitions.ReadSlot(dev)
	if errors.Is(err, partitions.ErrEmpty) {
		return nil, fault.Errorf(fault.Usage, "reading %s: %w", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return &Inspected{
		Kind: "slot", Name: name, Manifest: *content.Manifest, SlotBytes: dev.Size(), Signed: len(content.Signatures) > 0,
	}, nil
}
