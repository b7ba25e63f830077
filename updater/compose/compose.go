// Package compose makes a slot's content out of an image: the squashfs, its
// hash tree and the update manifest, in one pass over the image's layers. The
// same image and options give the same bytes on every machine.
package compose

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/verity"
)

// Options says how an image becomes a slot's content.
type Options struct {
	// Squashfs is how the file system is packed. Its ModTime is set by
	// Compose from the image's creation time.
	Squashfs squashfs.Options
	// Version, Compatible and MinVersion replace what the image says; "" keeps
	// that.
	Version, Compatible, MinVersion string
	// Source is recorded in the manifest as where the image came from.
	Source string
	// NoKernel lets an image without a kernel pass.
	NoKernel bool
	// Hashes keeps the lowest level of the hash tree until the tree is
	// written; nil is memory, 32 bytes for each block of 4 KiB.
	Hashes verity.Store
	// Local has layers that need not be fetched; nil for none.
	Local *oci.Local
}

// A Result is what Compose made besides the image.
type Result struct {
	Tree     *verity.Tree
	Manifest manifest.Manifest
	Stats    squashfs.Stats
	Plan     *oci.Plan
}

// Compose reads an image once, packs it into sink, and describes it. What the
// image's files say of it is known when their bytes are in the sink, so an
// error may come late: then the sink holds nothing that is of use.
func Compose(ctx context.Context, img *oci.Image, sink squashfs.Sink, opt Options) (*Result, error) {
	r := &Result{Manifest: Describe(img, opt)}
	builder := verity.NewBuilder(verity.DefaultParams())
	if opt.Hashes != nil {
		builder = verity.NewBuilderIn(verity.DefaultParams(), opt.Hashes)
	}
	if t := created(img); !t.IsZero() {
		opt.Squashfs.ModTime = t.Unix()
	}
	w, err := squashfs.NewWriter(squashfs.Tee(sink, builder), opt.Squashfs)
	if err != nil {
		return nil, fmt.Errorf("starting the squashfs: %w", err)
	}
	defer w.Abort()
	if r.Plan, err = oci.ReadWith(ctx, img, w, oci.ReadOptions{Local: opt.Local, List: true, Late: true}); err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil { // all layers may have been read before
		return nil, err
	}
	if err := DescribeFiles(ctx, &r.Manifest, r.Plan, opt); err != nil {
		return nil, err
	}
	if r.Stats, err = w.Close(r.Plan.Tree); err != nil {
		return nil, fmt.Errorf("finishing the squashfs: %w", err)
	}
	if r.Tree, err = builder.Finish(); err != nil {
		return nil, fmt.Errorf("finishing the hash tree: %w", err)
	}
	measure(&r.Manifest, r.Tree)
	if err := r.Plan.ListLayers(); err != nil {
		return nil, err
	}
	r.Manifest.Layers = fmt.Sprintf("%x", sha256.Sum256(r.Plan.Layers))
	if err := r.Manifest.Validate(); err != nil {
		return nil, fault.Errorf(fault.Refused, "describing the image: %w", err)
	}
	return r, nil
}

// measure sets the manifest's sizes and hashes from the tree.
func measure(m *manifest.Manifest, tree *verity.Tree) {
	m.RootHash = hex.EncodeToString(tree.RootHash)
	m.Salt = hex.EncodeToString(tree.Salt)
	m.DataBlocks = tree.DataBlocks
	m.ImageBytes = tree.DataBlocks * verity.BlockSize
	m.HashOffset = m.ImageBytes
	m.TreeBytes = tree.Bytes()
}
