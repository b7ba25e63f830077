// Package compose makes a slot's content out of an image: the squashfs, its
// hash tree and the update manifest. The same image and options give the same
// bytes on every machine.
package compose

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/abupdate/abupdate/internal/fstree"
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
	// Version and Compatible replace what the image says; "" keeps that.
	Version, Compatible string
	// Source is recorded in the manifest as where the image came from.
	Source string
	// NoKernel lets an image without a kernel pass.
	NoKernel bool
	// Progress, if not nil, is told how many bytes of file content are
	// packed, and how many there are.
	Progress func(done, total int64)
}

// A Result is what Compose made besides the image.
type Result struct {
	Tree     *verity.Tree
	Manifest manifest.Manifest
	Stats    squashfs.Stats
}

// Compose packs the plan's entries into sink and completes m, which Describe
// made for the same options.
func Compose(ctx context.Context, plan *oci.Plan, sink squashfs.Sink, m manifest.Manifest, opt Options) (*Result, error) {
	builder := verity.NewBuilder(verity.DefaultParams())
	sqopt := opt.Squashfs
	if t, err := time.Parse(time.RFC3339, m.Created); err == nil {
		sqopt.ModTime = t.Unix()
	}
	w, err := squashfs.NewWriter(squashfs.Tee(sink, builder), sqopt)
	if err != nil {
		return nil, fmt.Errorf("starting the squashfs: %w", err)
	}
	defer w.Abort()
	stats, err := pack(ctx, plan, w, opt.Progress)
	if err != nil {
		return nil, err
	}
	tree, err := builder.Finish()
	if err != nil {
		return nil, fmt.Errorf("finishing the hash tree: %w", err)
	}
	Complete(&m, tree)
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("describing the image: %w", err)
	}
	return &Result{Tree: tree, Manifest: m, Stats: stats}, nil
}

// Complete sets the manifest's sizes and hashes from the tree.
func Complete(m *manifest.Manifest, tree *verity.Tree) {
	m.RootHash = hex.EncodeToString(tree.RootHash)
	m.Salt = hex.EncodeToString(tree.Salt)
	m.DataBlocks = tree.DataBlocks
	m.ImageBytes = tree.DataBlocks * verity.BlockSize
	m.HashOffset = m.ImageBytes
	m.TreeBytes = tree.Bytes()
}

func pack(ctx context.Context, plan *oci.Plan, w *squashfs.Writer, progress func(done, total int64)) (squashfs.Stats, error) {
	counter := &countingReader{total: plan.Bytes, progress: progress}
	err := plan.Each(ctx, func(e fstree.Entry, content io.Reader) error {
		if e.Type != fstree.Regular || e.Size == 0 {
			return nil
		}
		if progress != nil {
			counter.r, content = content, counter
		}
		c, err := w.File(e.Path, e.Size, content)
		if err != nil {
			return fmt.Errorf("packing /%s: %w", e.Path, err)
		}
		plan.Tree.SetContent(plan.Tree.Find(e.Path), c)
		return nil
	})
	if err != nil {
		return squashfs.Stats{}, err
	}
	stats, err := w.Close(plan.Tree)
	if err != nil {
		return stats, fmt.Errorf("finishing the squashfs: %w", err)
	}
	return stats, nil
}

type countingReader struct {
	r           io.Reader
	done, total int64
	progress    func(done, total int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.done += int64(n)
	c.progress(c.done, c.total)
	return n, err
}
