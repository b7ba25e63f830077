package squashfs

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

const (
	none    = ^uint32(0) // no node, content, run, fragment or xattr set
	root    = uint32(0)  // the root's node
	maxName = 255        // NAME_MAX: the kernel looks no longer name up
)

// A node is what is kept of one name until Close. What data means depends on
// the type: a regular file's content, where a symlink's target or a hardlink's
// path stands in the arena (after Close began: the hardlink's node), a
// device's number, or a directory's first place in tree.order.
type node struct {
	parent  uint32
	chain   uint32 // next node whose (parent, name) has the same hash
	name    uint32 // in the arena
	mtime   uint32
	nlink   uint32
	xattr   uint32
	data    uint32
	inode   uint32 // inode number, from Close on
	uid     uint16 // places in the id table
	gid     uint16
	mode    uint16
	dataLen uint16
	typ     fstree.Type
	nameLen uint8
	// implicit marks a directory that only a deeper path has named so far.
	implicit bool
}

// A tree holds the names given so far and finds them by path.
type tree struct {
	nodes   table[node]
	strings arena
	seed    maphash.Seed
	byName  map[uint64]uint32 // hash of (parent, name) to the newest node
	order   []uint32          // from sort on: nodes by parent, then name
}

func newTree(rootNode node) *tree {
	t := &tree{seed: maphash.MakeSeed(), byName: make(map[uint64]uint32)}
	rootNode.parent, rootNode.chain = none, none
	t.nodes.add(rootNode)
	return t
}

func (t *tree) at(i uint32) *node { return t.nodes.at(i) }

func (t *tree) name(n *node) []byte { return t.strings.get(n.name, int(n.nameLen)) }

func (t *tree) text(n *node) []byte { return t.strings.get(n.data, int(n.dataLen)) }

func (t *tree) hash(parent uint32, name string) uint64 {
	return maphash.String(t.seed, name) + uint64(parent)*0x9e3779b97f4a7c15
}

// child returns the node called name in the directory parent, or none.
func (t *tree) child(parent uint32, name string) uint32 {
	i, ok := t.byName[t.hash(parent, name)]
	if !ok {
		return none
	}
	for i != none {
		n := t.at(i)
		if n.parent == parent && string(t.name(n)) == name {
			return i
		}
		i = n.chain
	}
	return none
}

// link appends n under name in the directory parent.
func (t *tree) link(parent uint32, name string, n node) (uint32, error) {
	if t.nodes.len() == none-1 {
		return none, errors.New("more than 2^32-2 objects")
	}
	ref, ok := t.strings.add(name)
	if !ok {
		return none, errNames
	}
	h := t.hash(parent, name)
	n.parent, n.name, n.nameLen, n.chain = parent, ref, uint8(len(name)), none
	if old, ok := t.byName[h]; ok {
		n.chain = old
	}
	i := t.nodes.add(n)
	t.byName[h] = i
	return i, nil
}

var errNames = errors.New("more than 4 GiB of names")

// find returns the node at path, or none.
func (t *tree) find(path string) uint32 {
	i := root
	for rest := path; rest != "" && i != none; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		i = t.child(i, name)
	}
	return i
}

// path is the inverse of find.
func (t *tree) path(i uint32) string {
	var names []string
	for ; i != root; i = t.at(i).parent {
		names = append(names, string(t.name(t.at(i))))
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// put adds n at path; directories above it that nobody has named yet become
// copies of implicit.
func (t *tree) put(path string, n, implicit node) (uint32, error) {
	if path == "" {
		return root, t.replace(root, n)
	}
	parent := root
	for rest := path; ; {
		name, deeper, more := strings.Cut(rest, "/")
		if err := checkName(name); err != nil {
			return none, err
		}
		i := t.child(parent, name)
		if !more {
			if i != none {
				return i, t.replace(i, n)
			}
			return t.link(parent, name, n)
		}
		if i == none {
			var err error
			if i, err = t.link(parent, name, implicit); err != nil {
				return none, err
			}
		} else if t.at(i).typ != fstree.Directory {
			return none, fmt.Errorf("%q is a %v, not a directory", t.path(i), t.at(i).typ)
		}
		parent, rest = i, deeper
	}
}

func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%q is no name in a path", name)
	case len(name) > maxName:
		return fmt.Errorf("name %q is longer than %d bytes", name, maxName)
	case strings.IndexByte(name, 0) >= 0:
		return fmt.Errorf("name %q has a zero byte", name)
	}
	return nil
}

// replace gives the implicit directory i its real metadata.
func (t *tree) replace(i uint32, n node) error {
	old := t.at(i)
	if !old.implicit {
		return errors.New("added before")
	}
	if n.typ != fstree.Directory {
		return fmt.Errorf("a %v where a directory with entries is", n.typ)
	}
	n.parent, n.chain, n.name, n.nameLen = old.parent, old.chain, old.name, old.nameLen
	*old = n
	return nil
}

// resolve points every hardlink at the node it names and counts links.
func (t *tree) resolve() error {
	links := 0
	for i := range t.nodes.len() {
		if t.at(i).typ == fstree.Hardlink {
			links++
		}
	}
	done := make([]bool, 0)
	if links > 0 {
		done = make([]bool, t.nodes.len())
	}
	for i := range t.nodes.len() {
		if t.at(i).typ != fstree.Hardlink || done[i] {
			continue
		}
		if err := t.resolveChain(i, links, done); err != nil {
			return fmt.Errorf("linking %q: %w", t.path(i), err)
		}
	}
	return nil
}

// resolveChain follows hardlinks from i on, since a link may name a link.
func (t *tree) resolveChain(i uint32, limit int, done []bool) error {
	var chain []uint32
	for t.at(i).typ == fstree.Hardlink && !done[i] {
		if len(chain) == limit {
			return errors.New("hardlinks in a circle")
		}
		chain = append(chain, i)
		path := string(t.text(t.at(i)))
		if i = t.find(path); i == none {
			return fmt.Errorf("no entry %q", path)
		}
	}
	if done != nil && done[i] {
		i = t.at(i).data
	}
	if t.at(i).typ == fstree.Directory {
		return fmt.Errorf("%q is a directory", t.path(i))
	}
	for _, link := range chain {
		t.at(link).data, done[link] = i, true
		t.at(i).nlink++
	}
	return nil
}

// target is the node that has the inode of node i.
func (t *tree) target(i uint32) uint32 {
	if n := t.at(i); n.typ == fstree.Hardlink {
		return n.data
	}
	return i
}

// sort fills order and counts the links of directories. It borrows the inode
// field of directories as a counter.
func (t *tree) sort() {
	count := t.nodes.len()
	for i := uint32(1); i < count; i++ {
		n := t.at(i)
		parent := t.at(n.parent)
		parent.inode++
		if n.typ == fstree.Directory {
			parent.nlink++
		}
	}
	sum := uint32(0)
	for i := range count {
		if n := t.at(i); n.typ == fstree.Directory {
			n.data = sum
			sum += n.inode
			n.inode = n.data
		}
	}
	t.order = make([]uint32, count-1)
	for i := uint32(1); i < count; i++ {
		parent := t.at(t.at(i).parent)
		t.order[parent.inode] = i
		parent.inode++
	}
	for i := range count {
		if n := t.at(i); n.typ == fstree.Directory {
			slices.SortFunc(t.order[n.data:n.inode], func(a, b uint32) int {
				return bytes.Compare(t.name(t.at(a)), t.name(t.at(b)))
			})
			n.inode = 0
		}
	}
}

// children returns the sorted nodes in the directory dir.
func (t *tree) children(dir uint32) []uint32 {
	first := t.at(dir).data
	last := first
	for int(last) < len(t.order) && t.at(t.order[last]).parent == dir {
		last++
	}
	return t.order[first:last]
}
