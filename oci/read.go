package oci

import (
	"context"
	"io"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Contents takes the contents of regular files, one after the other.
// squashfs.Writer is one.
type Contents interface {
	// File takes the content of a file of size bytes, more than none, and
	// returns what names it in the tree. The path is the name in the layer: a
	// hint, since the file may end up elsewhere. What File leaves unread is
	// passed over.
	File(path string, size int64, r io.Reader) (fstree.Content, error)
}

// A Rester is Contents that can give back memory: Rest is called when the
// layers have been read, before they are flattened. Few images need File again.
type Rester interface{ Rest() }

// ReadOptions says how ReadWith reads; the zero value is how Read does.
type ReadOptions struct {
	Local *Local // layers that need not be fetched; nil for none
	List  bool   // make Plan.Layers
	Late  bool   // but not before Plan.ListLayers, when contents takes no memory any more
}

// Read reads an image and flattens it. Every layer is read to its end, the
// highest first, and its digest, size and diffID are checked. The content of
// each file that no upper layer hides goes to contents while its layer is
// read: bytes come in an order that is always the same for one image. When
// contents is nil, only headers are read.
//
// A content that turns out to be needed after all (a hardlink to a name that
// an upper layer hid) costs a second read of its layer, in the end; one that
// turns out not to be needed is counted in Plan.Unused.
//
// Digests are known at the end of a layer only: when Read fails, contents has
// taken bytes that are good for nothing, and the caller must drop them.
func Read(ctx context.Context, img *Image, contents Contents) (*Plan, error) {
	return ReadWith(ctx, img, contents, ReadOptions{})
}

// ReadWith is Read with options. What contents gets, and the Plan but for what
// it counts, do not depend on them.
func ReadWith(ctx context.Context, img *Image, contents Contents, opt ReadOptions) (*Plan, error) {
	if err := img.checkLayers(); err != nil {
		return nil, err
	}
	descs, diffIDs := img.manifest.Layers, img.config.RootFS.DiffIDs
	rd := newReader(img, contents, opt)
	seen := map[v1.Hash]int{}
	for i := len(descs) - 1; i >= 0; i-- {
		if j, ok := seen[descs[i].Digest]; ok && diffIDs[i] == diffIDs[j] {
			rd.layers[i] = rd.layers[j] // listed twice; flattening does not change it
			rd.layers[i].uses++
			rd.meter.addLocal(descs[i].Size)
			continue
		}
		seen[descs[i].Digest] = i
		if err := rd.layer(ctx, i); err != nil {
			return nil, img.explain(i, err)
		}
	}
	rd.hidden = nil
	if r, ok := contents.(Rester); ok {
		r.Rest()
	}
	return rd.plan(ctx)
}

func (img *Image) mask() uint64 {
	if img.hashMask == 0 {
		return ^uint64(0)
	}
	return img.hashMask
}

// checkLayers makes sure that there are layers of files to read.
func (img *Image) checkLayers() error {
	if img.IsUpdate() {
		return fault.Errorf(fault.Usage, "%v: is an update, which has no layers of files", img.ref)
	}
	layers, diffIDs := img.manifest.Layers, img.config.RootFS.DiffIDs
	if len(layers) != len(diffIDs) {
		return fault.Errorf(fault.Verify, "%v: manifest has %d layers, config %d diffIDs", img.ref, len(layers), len(diffIDs))
	}
	for i, d := range layers {
		if !isLayerType(d.MediaType) {
			return fault.Errorf(fault.Usage, "%s: is of type %q, not a file system layer", img.layerName(i), d.MediaType)
		}
	}
	return nil
}
