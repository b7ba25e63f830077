package updater

import (
	"context"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater/transfer"
	"github.com/abupdate/abupdate/updater/trust"
	"github.com/abupdate/abupdate/verity"
)

// An updateSource is an update that build made: its sizes and its hash tree
// are known before its first block.
type updateSource struct {
	img  *oci.Image
	raw  []byte
	desc *manifest.Manifest

	// Once it is prepared:
	tree     *verity.Tree
	hashes   *HashStore // the tree's, unless they are in the slot
	remote   transfer.Remote
	plan     *transfer.Plan
	figures  transfer.Figures
	metadata int64 // bytes fetched beside blocks
}

func (s *updateSource) describe() (manifest.Manifest, error) {
	raw, err := s.img.UpdateConfig()
	if err != nil {
		return manifest.Manifest{}, err
	}
	desc, err := manifest.Decode(raw)
	if err != nil {
		return manifest.Manifest{}, fault.Errorf(fault.Verify, "reading update %s: %w", s.img.Reference(), err)
	}
	s.raw, s.desc, s.metadata = raw, desc, int64(len(raw)+len(s.img.ManifestRaw()))
	return *desc, nil
}

func (s *updateSource) survey(context.Context) (manifest.Manifest, error) { return *s.desc, nil }

func (s *updateSource) signedBy(trust.Key) {} // its signatures go into the slot

func (s *updateSource) dropped() map[string]int { return nil }

func (s *updateSource) fits(slot bootctl.Slot, capacity int64) error {
	if s.desc != nil && s.desc.ImageBytes > capacity {
		return fault.Errorf(fault.NoRoom, "update %s has %d bytes; slot %v holds %d", s.img.Reference(), s.desc.ImageBytes, slot, capacity)
	}
	return nil
}

// fill carries out what prepare planned. The tree goes first: what an
// interruption leaves of the image is found by it.
func (s *updateSource) fill(ctx context.Context, w target, progress Progress) (*filled, error) {
	if err := w.PlaceTree(s.tree); err != nil {
		return nil, err
	}
	w.keep.compare = false // what is there already is known
	var err error
	s.figures, err = s.plan.Run(ctx, s.remote, w, func(p transfer.Progress) {
		progress.Tell(Event{
			Step: StepWrite, Done: p.Done, Total: s.desc.ImageBytes,
			Copied: p.Copied + p.Kept, Fetched: p.Fetched, ToFetch: p.ToFetch,
		})
	})
	if err != nil {
		err = fmt.Errorf("writing update %s: %w", s.img.Reference(), err)
		if w.Err() == nil {
			err = &unfinished{err}
		}
		return nil, err
	}
	return &filled{tree: s.tree, manifest: *s.desc, raw: s.raw, layers: s.layers(ctx), placed: true, kept: s.figures.Kept}, nil
}

// An unfinished is an error that ended a transfer, while what is in the slot is
// right: the next one goes on with it.
type unfinished struct{ error }

func (u *unfinished) Unwrap() error { return u.error }

// blob opens the squashfs to be read from its start.
func (s *updateSource) blob(ctx context.Context) (io.ReadCloser, error) {
	r, size, err := s.img.Blob(ctx, manifest.SquashfsMediaType)
	if err != nil {
		return nil, err
	}
	if size != s.desc.ImageBytes {
		r.Close()
		return nil, fault.Errorf(fault.Verify, "%d bytes of squashfs; the manifest says %d", size, s.desc.ImageBytes)
	}
	return r, nil
}
