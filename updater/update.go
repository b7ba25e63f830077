package updater

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/verity"
)

// An Update is an update that build made, to be put whole onto a new disk.
type Update struct {
	*oci.Image
	Manifest manifest.Manifest
	Raw      []byte // the manifest, as it may be signed
	source   *updateSource
}

// OpenAny finds an image or an update: one of the two is not nil.
func OpenAny(ctx context.Context, name string, opt SourceOptions, progress Progress) (*Image, *Update, error) {
	img, phase, err := openReference(ctx, name, opt, progress)
	if err != nil {
		return nil, nil, err
	}
	if !img.IsUpdate() {
		return newImage(img, opt, phase), nil, nil
	}
	u := &Update{Image: img, source: &updateSource{img: img}}
	if u.Manifest, err = u.source.describe(); err != nil {
		img.Close()
		return nil, nil, err
	}
	u.Raw = u.source.raw
	return nil, u, nil
}

// Tree fetches the hash tree, 1/127 of the image, and checks it.
func (u *Update) Tree(ctx context.Context) (*verity.Tree, error) {
	r, size, err := u.Blob(ctx, manifest.TreeMediaType)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size != u.Manifest.TreeBytes {
		return nil, fault.Errorf(fault.Verify, "hash tree of update %v: %d bytes; the manifest says %d", u.Reference(), size, u.Manifest.TreeBytes)
	}
	b, err := io.ReadAll(io.LimitReader(r, size))
	if err != nil {
		return nil, fmt.Errorf("reading the hash tree of update %v: %w", u.Reference(), err)
	}
	root, err := u.Manifest.RootHashBytes()
	if err != nil {
		return nil, err
	}
	tree, err := verity.ReadTree(bytes.NewReader(b), int64(len(b)), root)
	if err != nil {
		return nil, fault.Errorf(fault.Verify, "hash tree of update %v: %w", u.Reference(), err)
	}
	if tree.DataBlocks != u.Manifest.DataBlocks {
		return nil, fault.Errorf(fault.Verify, "hash tree of update %v: it covers %d blocks; the manifest says %d", u.Reference(), tree.DataBlocks, u.Manifest.DataBlocks)
	}
	return tree, nil
}

// Save fetches the squashfs into a file.
func (u *Update) Save(ctx context.Context, f *os.File, progress Progress) error {
	r, err := u.source.blob(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	done := func(n int64) { progress.Report(StepFetch, n, u.Manifest.ImageBytes) }
	if _, err := io.Copy(f, &reportingReader{r: r, report: done}); err != nil {
		return fmt.Errorf("reading update %v: %w", u.Reference(), err)
	}
	return nil
}

// Layers is the list of layers that goes into a slot, nil for none.
func (u *Update) Layers(ctx context.Context) []byte { return u.source.layers(ctx) }

// Envelope is what goes into a slot beside the manifest: nil for an update
// that nobody signed. With keys, one of them must have.
func (u *Update) Envelope(ctx context.Context, ring Keyring) ([]byte, error) {
	found, damaged := u.Signatures(ctx)
	if damaged != nil && (len(ring.Keys) == 0 || fault.KindOf(damaged) != fault.Verify) {
		return nil, damaged
	}
	e := ring.envelope(u.Image, found)
	if len(ring.Keys) > 0 {
		if _, err := ring.Keys.VerifyManifest(e, u.Raw); err != nil {
			return nil, cmp.Or(damaged, fault.Errorf(fault.Verify, "%v: %w", u.Reference(), err))
		}
	}
	if len(e.Signatures) == 0 {
		return nil, nil
	}
	return e.Encode()
}
