package oci

import (
	"fmt"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
)

// flatten applies the layers to an empty root, the lowest first.
func flatten(ix *Index) (*node, error) {
	root := newDirectory()
	for i := range ix.layers {
		a := applier{root: root, layer: int32(i), headers: ix.layers[i].headers}
		if h, err := a.apply(); err != nil {
			return nil, fault.Errorf(fault.Verify, "%s: entry %q: %w", ix.img.layerName(i), h.Path, err)
		}
	}
	return root, nil
}

// An applier applies one layer. The layer's whiteouts come first, wherever
// they stand in it, so they meet nothing but lower layers; then come its other
// entries in order, so the last of several with one name wins.
type applier struct {
	root    *node
	layer   int32
	headers []header
	hidden  map[string]*node // what whiteouts took away, by path
}

// apply returns the header that an error is about.
func (a *applier) apply() (*header, error) {
	if h, err := a.applyWhiteouts(); err != nil {
		return h, err
	}
	for i := range a.headers {
		h := &a.headers[i]
		if h.kind != object {
			continue
		}
		if err := a.applyObject(h); err != nil {
			return h, err
		}
	}
	return nil, nil
}

// A removal is a name that a whiteout hides.
type removal struct {
	dir  *node
	path string // of dir
	name string // "": everything in dir
}

// applyWhiteouts finds everything that is to go before it takes anything away:
// whiteouts do not change where other whiteouts lead.
func (a *applier) applyWhiteouts() (*header, error) {
	var removals []removal
	var defined map[string]*header
	for i := range a.headers {
		h := &a.headers[i]
		if h.kind == object {
			continue
		}
		if defined == nil {
			defined = a.definitions()
		}
		dir, name := h.Path, ""
		if h.kind == whiteout {
			dir, name = splitPath(h.Path)
		}
		at, err := walk(a.root, dir, shadowed(defined))
		if err != nil {
			return h, err
		}
		if n := at.node(a.root); n != nil && n.isDir() {
			removals = append(removals, removal{n, at.path(), name})
		}
	}
	for _, r := range removals {
		a.remove(r)
	}
	return nil, nil
}

func (a *applier) remove(r removal) {
	if a.hidden == nil {
		a.hidden = map[string]*node{}
	}
	if r.name != "" {
		if n := r.dir.children[r.name]; n != nil {
			a.hidden[joinPath(r.path, r.name)] = n
			delete(r.dir.children, r.name)
		}
		return
	}
	for name, n := range r.dir.children {
		a.hidden[joinPath(r.path, name)] = n
	}
	r.dir.children = nil
}

// definitions maps the layer's own names to the last entry of each.
func (a *applier) definitions() map[string]*header {
	m := make(map[string]*header, len(a.headers))
	for i := range a.headers {
		if h := &a.headers[i]; h.kind == object {
			m[h.Path] = h
		}
	}
	return m
}

// shadowed resolves a whiteout's directory as the finished layer will have it.
// Where the layer puts a directory in the place of a lower symlink (overlayfs
// then marks it opaque), what the symlink led to must not be touched.
func shadowed(defined map[string]*header) override {
	return func(path string, n *node) (*node, string) {
		h := defined[path]
		switch {
		case h == nil && n != nil && n.Type == fstree.Symlink:
			return nil, n.Linkname
		case h == nil:
			return n, ""
		case h.Type == fstree.Symlink:
			return nil, h.Linkname
		case h.Type == fstree.Directory && n != nil && n.isDir():
			return n, ""
		}
		return nil, ""
	}
}

func (a *applier) applyObject(h *header) error {
	if h.Path == "" {
		a.root.inode = &inode{header: h, layer: a.layer}
		return nil
	}
	dirPath, name := splitPath(h.Path)
	at, err := walk(a.root, dirPath, nil)
	if err != nil {
		return err
	}
	dir, err := at.makeDirs(a.root)
	if err != nil {
		return err
	}
	old := dir.children[name]
	if old != nil && old.isDir() && h.Type == fstree.Directory {
		old.inode = &inode{header: h, layer: a.layer} // children stay
		return nil
	}
	delete(dir.children, name)
	if h.Type != fstree.Hardlink {
		dir.put(name, &node{inode: &inode{header: h, layer: a.layer}})
		return nil
	}
	target, err := a.linkTarget(h.Linkname)
	if err != nil {
		return err
	}
	dir.put(name, &node{inode: target.inode})
	return nil
}

// linkTarget finds what a hardlink names: its last part is not followed when
// it is a symlink. A name that one of the layer's whiteouts took away still
// counts, as the order of link and whiteout in a layer means nothing. A name
// that comes later in the layer does not, so links can form no cycle.
func (a *applier) linkTarget(path string) (*node, error) {
	dirPath, name := splitPath(path)
	at, err := walk(a.root, dirPath, nil)
	if err != nil {
		return nil, fmt.Errorf("hardlink to %q: %w", path, err)
	}
	var target *node
	if dir := at.node(a.root); path == "" {
		target = a.root
	} else if dir != nil && dir.isDir() {
		target = dir.children[name]
	}
	if target == nil {
		target = a.hiddenNode(joinPath(at.path(), name))
	}
	switch {
	case target == nil:
		return nil, fmt.Errorf("hardlink to %q, which does not exist (or is a cycle of hardlinks)", path)
	case target.isDir():
		return nil, fmt.Errorf("hardlink to %q, which is a directory", path)
	}
	return target, nil
}

// hiddenNode finds what stood at path before the layer's whiteouts.
func (a *applier) hiddenNode(path string) *node {
	for end := len(path); end > 0; end = strings.LastIndexByte(path[:end], '/') {
		n := a.hidden[path[:end]]
		if n == nil {
			continue
		}
		for _, name := range strings.Split(path[end:], "/") {
			if name != "" {
				if n = n.children[name]; n == nil {
					return nil
				}
			}
		}
		return n
	}
	return nil
}
