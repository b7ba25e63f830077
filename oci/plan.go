package oci

import (
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
)

// maxPath is the kernel's limit for a path, with its final zero byte.
const maxPath = 4096

// A Plan is the flattened image.
type Plan struct {
	// Entries are sorted by path, so a directory stands before its children;
	// the first is the root. A hardlink stands after its first name.
	Entries []fstree.Entry
	// Dropped counts the extended attributes that were left out, by name.
	Dropped map[string]int
	Files   int   // regular files, hardlinks counted once
	Bytes   int64 // of all regular files

	ix   *Index
	root *node
	// content[i] lists the regular files whose content stands in layer i, in
	// the layer's order; empty files have none.
	content [][]pick
}

// A pick is one entry of a layer whose content is wanted.
type pick struct {
	ordinal int32
	entry   int32 // index in Plan.Entries
}

// Plan flattens the layers.
func (ix *Index) Plan() (*Plan, error) {
	root, err := flatten(ix)
	if err != nil {
		return nil, err
	}
	p := &Plan{Dropped: map[string]int{}, ix: ix, root: root, content: make([][]pick, len(ix.layers))}
	var named []namedNode
	if named, err = list(named, "", root); err != nil {
		return nil, fault.Errorf(fault.Verify, "%v: %w", ix.img.ref, err)
	}
	slices.SortFunc(named, func(a, b namedNode) int { return strings.Compare(a.path, b.path) })
	p.Entries = make([]fstree.Entry, 0, len(named))
	limit := ix.img.opt.Limits.withDefaults().TotalBytes
	for _, n := range named {
		p.add(n.path, n.inode)
		if p.Bytes > limit || p.Bytes < 0 { // a sparse file costs its publisher nothing
			return nil, fault.Errorf(fault.Refused, "%v: files have more than %d bytes", ix.img.ref, limit)
		}
	}
	for _, picks := range p.content {
		slices.SortFunc(picks, func(a, b pick) int { return int(a.ordinal) - int(b.ordinal) })
	}
	return p, nil
}

type namedNode struct {
	path string
	*inode
}

func list(to []namedNode, path string, n *node) ([]namedNode, error) {
	if len(path) >= maxPath {
		return nil, fault.Errorf(fault.Verify, "path %.40q... has %d bytes, more than %d", path, len(path), maxPath-1)
	}
	n.out = -1 // a plan may have been made before
	to = append(to, namedNode{path, n.inode})
	for name, child := range n.children {
		var err error
		if to, err = list(to, joinPath(path, name), child); err != nil {
			return nil, err
		}
	}
	return to, nil
}

// add appends the next entry in the order of paths.
func (p *Plan) add(path string, ino *inode) {
	if ino.out >= 0 {
		p.Entries = append(p.Entries, fstree.Entry{Path: path, Type: fstree.Hardlink, Linkname: p.Entries[ino.out].Path})
		return
	}
	ino.out = int32(len(p.Entries))
	e := ino.Entry
	e.Path = path
	p.Entries = append(p.Entries, e)
	for _, name := range ino.dropped {
		p.Dropped[name]++
	}
	if e.Type != fstree.Regular {
		return
	}
	p.Files++
	p.Bytes += e.Size
	if e.Size > 0 {
		p.content[ino.layer] = append(p.content[ino.layer], pick{ino.ordinal, ino.out})
	}
}

// Lookup finds the entry at a path, symlinks followed inside the image. For a
// hardlink it is the entry of the first name.
func (p *Plan) Lookup(path string) (fstree.Entry, bool) {
	at, err := walk(p.root, path, nil)
	if err != nil {
		return fstree.Entry{}, false
	}
	n := at.node(p.root)
	if n == nil {
		return fstree.Entry{}, false
	}
	return p.Entries[n.out], true
}
