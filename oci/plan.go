package oci

import (
	"context"
	"io"

	"github.com/abupdate/abupdate/internal/fstree"
)

// An Index holds the headers of every layer's entries.
type Index struct{}

// ReadIndex is the first pass: it reads every layer to its end, checks its
// digest, size and diffID, and keeps the headers of its entries.
func ReadIndex(ctx context.Context, img *Image) (*Index, error) { return &Index{}, nil }

// Plan flattens the layers.
func (ix *Index) Plan() (*Plan, error) { return &Plan{}, nil }

// A Plan is the flattened image.
type Plan struct {
	// Entries are sorted by path, so a directory stands before its children;
	// the first is the root. A hardlink stands after its first name.
	Entries []fstree.Entry
	// Dropped counts the extended attributes that were left out, by name.
	Dropped map[string]int
	Files   int   // regular files, hardlinks counted once
	Bytes   int64 // of all regular files
}

// Each is the second pass: it calls fn once for every entry. What has no
// content comes first, sorted by path; then regular files as they stand in
// the layers, content streamed; then hardlinks.
func (p *Plan) Each(ctx context.Context, fn func(e fstree.Entry, content io.Reader) error) error {
	return nil
}

// Lookup finds the entry at a path, symlinks followed inside the image.
func (p *Plan) Lookup(path string) (fstree.Entry, bool) { return fstree.Entry{}, false }

// ReadFiles returns the contents of the regular files at the given paths, at
// most limit bytes in all; symlinks are followed inside the image. A path that
// is not there is not in the map.
func (p *Plan) ReadFiles(ctx context.Context, paths []string, limit int64) (map[string][]byte, error) {
	return nil, nil
}
