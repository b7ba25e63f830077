package updater

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/internal/unsquash"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
)

// useLocalLayers lets an ordinary image have what the running slot has of it.
// A slot that cannot be read is no help, and no harm: all is fetched then.
func (a *apply) useLocalLayers() {
	s, ok := a.source.(*imageSource)
	if !ok || a.opt.Transfer.Full {
		return
	}
	local, err := a.localLayers(s.Image.Image)
	if err != nil {
		a.opt.Progress.Tell(Event{Step: StepResolve, Note: fmt.Sprintf("slot %v gives no layers: %v", a.facts.slot, err)})
		return
	}
	s.Image.opt.Local = local
}

// localLayers returns the running slot's list of layers, if the image has any
// of them, and its files. What they say is as trusted as the system that runs:
// the slot's manifest, whose root hash that is, has the hash of the list, and
// every block is compared with the tree.
func (a *apply) localLayers(img *oci.Image) (*oci.Local, error) {
	sec, err := a.System.slot(a.facts.slot)
	if err != nil {
		return nil, nil // no such slot
	}
	content, err := partitions.ReadSlot(sec)
	if isEmpty(err) {
		return nil, nil
	}
	if err == nil {
		err = a.checkRunning(content)
	}
	if err != nil {
		return nil, err
	}
	raw, err := content.Layers(sec)
	if raw == nil || err != nil {
		return nil, err
	}
	list, err := oci.ParseLayers(raw)
	if err != nil || !img.HasLayersOf(list) {
		return nil, err
	}
	tree, err := content.Tree(sec)
	if err != nil {
		return nil, err
	}
	image, err := content.Image(sec)
	if err != nil {
		return nil, err
	}
	files, err := unsquash.NewFinder(&checkedImage{r: image, tree: tree}, image.Size())
	if err != nil {
		return nil, err
	}
	return &oci.Local{Layers: list, Files: files}, nil
}

// checkRunning makes sure that a slot holds what runs, or what the boot state
// says of it.
func (a *apply) checkRunning(content *partitions.SlotContent) error {
	root := content.Manifest.RootHash
	if slot := a.facts.slot; slot.IsRoot() && a.state.Slot(slot).RootHash != root {
		return fault.Errorf(fault.Verify, "its root hash is %s, the boot state's %s", root, a.state.Slot(slot).RootHash)
	}
	if a.booted != nil && a.booted.Slot == a.facts.slot && a.booted.RootHash != "" && a.booted.RootHash != root {
		return fault.Errorf(fault.Verify, "its root hash is %s; what runs has %s", root, a.booted.RootHash)
	}
	return nil
}

// A list of layers is fetched with an update if it has at most one byte for so
// many of the image, or is small by itself: what it may save later must not
// cost much now.
const (
	layersShare = 1000
	layersSmall = 16 << 10
)

// listBytes is the size of the list of layers that is fetched with an update, 0
// for none.
func (s *updateSource) listBytes() int64 {
	most := min(partitions.MaxLayers, max(s.desc.ImageBytes/layersShare, layersSmall))
	for _, l := range s.img.Layers() {
		if string(l.MediaType) == manifest.LayersMediaType && s.desc.Layers != "" && l.Size <= most {
			return l.Size
		}
	}
	return 0
}

// layers fetches the list of the layers that an update was made of, for the
// ordinary image that may follow it. Nil is no fault.
func (s *updateSource) layers(ctx context.Context) []byte {
	if s.listBytes() == 0 {
		return nil
	}
	r, _, err := s.img.Blob(ctx, manifest.LayersMediaType)
	if err != nil {
		return nil
	}
	defer r.Close()
	list, err := io.ReadAll(r)
	s.metadata += int64(len(list))
	if err != nil || fmt.Sprintf("%x", sha256.Sum256(list)) != s.desc.Layers {
		return nil
	}
	return list
}

// countLocal says what an ordinary image took from the running slot, or would
// take, and what a dry run of an update leaves out of what is fetched.
func (a *apply) countLocal(done *Applied) {
	switch s := a.source.(type) {
	case *updateSource:
		if a.opt.DryRun {
			done.MetadataBytes += s.listBytes()
		}
	case *imageSource:
		if s.plan != nil {
			done.LocalLayers, done.LocalBytes, done.FetchedBytes = s.plan.LocalLayers, s.plan.LocalBytes, s.phase.fetched()
		}
	}
}
