package oci

import (
	"fmt"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
)

// A flattened tree, and where its objects come from.
type flattened struct {
	mask    uint64 // of hashes
	tree    *fstree.Tree
	origins origins
	dropped map[uint32]uint32 // by object: droppedSet of its entry
}

// flatten applies the layers to an empty root, the lowest first, and gives
// their logs back.
func flatten(img *Image, layers []*layerLog) (*flattened, error) {
	f := &flattened{mask: img.mask(), tree: fstree.NewTree(), dropped: map[uint32]uint32{}}
	for i, l := range layers {
		l.uses--
		a := applier{flattened: f, layer: i, log: l, at: place{tree: f.tree}}
		if path, err := a.apply(); err != nil {
			return nil, fault.Errorf(fault.Verify, "%s: entry %q: %w", img.layerName(i), path, err)
		}
	}
	return f, nil
}

// An applier applies one layer. The layer's whiteouts come first, wherever
// they stand in it, so they meet nothing but lower layers; then come its other
// entries in order, so the last of several with one name wins.
type applier struct {
	*flattened
	layer int
	log   *layerLog
	at    place

	dirPath string // where the last entry stood
	dir     fstree.Node
	dirGood bool

	removed []removed
	hidden  map[string]fstree.Node // what whiteouts took away, by path; made when asked for
}

// removed are children of a directory that a whiteout took away.
type removed struct {
	path  string // of the directory
	nodes []fstree.Node
}

// apply returns the path of the entry that an error is about.
func (a *applier) apply() (string, error) {
	if a.log.whiteouts > 0 {
		if path, err := a.applyWhiteouts(); err != nil {
			return path, err
		}
	}
	for _, r := range a.log.all(a.log.uses == 0) {
		if r.kind != object {
			continue
		}
		if err := a.applyObject(r); err != nil {
			return r.Path, err
		}
	}
	return "", nil
}

// A removal is a name that a whiteout hides.
type removal struct {
	dir  fstree.Node
	path string // of dir
	name string // "": everything in dir
}

// applyWhiteouts finds everything that is to go before it takes anything away:
// whiteouts do not change where other whiteouts lead.
func (a *applier) applyWhiteouts() (string, error) {
	var removals []removal
	shadow := newDefinitions(&a.log.headerLog, a.mask).shadow(a.tree)
	for _, r := range a.log.all(false) {
		if r.kind == object {
			continue
		}
		dir, name := r.Path, ""
		if r.kind == whiteout {
			dir, name = splitPath(r.Path)
		}
		if err := a.at.walk(dir, shadow); err != nil {
			return r.Path, err
		}
		if n := a.at.node(); isDir(a.tree, n) {
			removals = append(removals, removal{n, a.at.path(), name})
		}
	}
	for _, r := range removals {
		a.remove(r)
	}
	return "", nil
}

func (a *applier) remove(r removal) {
	var nodes []fstree.Node
	if r.name == "" {
		nodes = slices.Collect(a.tree.Children(r.dir))
	} else if n := a.tree.Child(r.dir, r.name); n != fstree.NoNode {
		nodes = []fstree.Node{n}
	}
	for _, n := range nodes {
		a.tree.Remove(n)
	}
	if a.log.hardlinks > 0 { // nobody else asks for them
		a.removed = append(a.removed, removed{r.path, nodes})
	}
}

func (a *applier) applyObject(r *record) error {
	if r.Path == "" {
		a.note(fstree.Root, r)
		return a.tree.SetMeta(fstree.Root, r.Entry)
	}
	dirPath, name := splitPath(r.Path)
	dir, err := a.directory(dirPath)
	if err != nil {
		return err
	}
	old := a.tree.Child(dir, name)
	if r.Type == fstree.Directory && isDir(a.tree, old) {
		a.note(old, r)
		return a.tree.SetMeta(old, r.Entry) // children stay
	}
	if old != fstree.NoNode {
		// Paths that went through here may lead elsewhere now.
		a.dirGood = a.dirGood && a.tree.Type(old) != fstree.Directory && a.tree.Type(old) != fstree.Symlink
	}
	if r.Type == fstree.Hardlink {
		return a.link(dir, name, old, r.Linkname)
	}
	n, err := a.tree.Put(dir, name, r.Entry)
	if err != nil {
		return err
	}
	if r.content != fstree.NoContent {
		a.tree.SetContent(n, r.content)
	}
	a.note(n, r)
	return nil
}

// directory resolves the directory of an entry and makes what it lacks. In a
// tar the entries of a directory stand together.
func (a *applier) directory(path string) (fstree.Node, error) {
	if a.dirGood && a.dirPath == path {
		return a.dir, nil
	}
	a.dirGood = false
	if err := a.at.walk(path, nil); err != nil {
		return fstree.NoNode, err
	}
	dir, err := a.at.makeDirs()
	if err != nil {
		return dir, err
	}
	a.dirPath, a.dir, a.dirGood = path, dir, true
	return dir, nil
}

// note remembers which entry made an object.
func (a *applier) note(n fstree.Node, r *record) {
	object := a.tree.Object(n)
	a.origins.set(object, a.layer, r.ordinal)
	if r.droppedSet != 0 {
		a.dropped[object] = r.droppedSet
	} else if len(a.dropped) > 0 {
		delete(a.dropped, object)
	}
}

func (a *applier) link(dir fstree.Node, name string, old fstree.Node, linkname string) error {
	if old != fstree.NoNode {
		a.tree.Remove(old) // before the target is looked up, which may lie in it
	}
	target, err := a.linkTarget(linkname)
	if err != nil {
		return err
	}
	_, err = a.tree.Link(dir, name, target)
	return err
}

// linkTarget finds what a hardlink names: its last part is not followed when
// it is a symlink. A name that one of the layer's whiteouts took away still
// counts, as the order of link and whiteout in a layer means nothing. A name
// that comes later in the layer does not, so links can form no cycle.
func (a *applier) linkTarget(path string) (fstree.Node, error) {
	dirPath, name := splitPath(path)
	if err := a.at.walk(dirPath, nil); err != nil {
		return fstree.NoNode, fmt.Errorf("hardlink to %q: %w", path, err)
	}
	target := fstree.Root
	if path != "" {
		target = a.at.child(name)
	}
	if target == fstree.NoNode {
		target = a.hiddenNode(joinPath(a.at.path(), name))
	}
	switch {
	case target == fstree.NoNode:
		return target, fmt.Errorf("hardlink to %q, which does not exist (or is a cycle of hardlinks)", path)
	case isDir(a.tree, target):
		return target, fmt.Errorf("hardlink to %q, which is a directory", path)
	}
	return target, nil
}

// hiddenNode finds what stood at path before the layer's whiteouts.
func (a *applier) hiddenNode(path string) fstree.Node {
	if a.hidden == nil {
		a.hidden = map[string]fstree.Node{}
		for _, r := range a.removed {
			for _, n := range r.nodes {
				a.hidden[joinPath(r.path, a.tree.Name(n))] = n
			}
		}
	}
	for end := len(path); end > 0; end = strings.LastIndexByte(path[:end], '/') {
		n, ok := a.hidden[path[:end]]
		if !ok {
			continue
		}
		for _, name := range strings.Split(path[end:], "/") {
			if name != "" {
				if n = a.tree.Child(n, name); n == fstree.NoNode {
					return n
				}
			}
		}
		return n
	}
	return fstree.NoNode
}
