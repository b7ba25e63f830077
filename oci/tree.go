package oci

import (
	"fmt"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// maxLinks is how many symlinks one path may lead through, as in umoci.
const maxLinks = 255

// An inode is a file system object without its name. Names that are hardlinks
// of each other share one.
type inode struct {
	*header       // of the entry that made it; nil for an implicit directory
	layer   int32 // where that entry stands
	out     int32 // index in Plan.Entries of its first name
}

// implicit is the metadata of a directory that no entry describes.
var implicit = &header{Entry: fstree.Entry{Type: fstree.Directory, Mode: 0o755}}

// A node is one name.
type node struct {
	*inode
	children map[string]*node // of a directory; nil when it has none
}

func (n *node) isDir() bool { return n.Type == fstree.Directory }

func (n *node) put(name string, child *node) {
	if n.children == nil {
		n.children = map[string]*node{}
	}
	n.children[name] = child
}

func newDirectory() *node { return &node{inode: &inode{header: implicit}} }

// A place is where a path leads: nodes that exist, then names that do not.
type place struct {
	names []string
	nodes []*node // nodes[i] is what names[i] leads to, nil when missing
}

func (p *place) path() string { return strings.Join(p.names, "/") }

// override replaces what a walk finds at a path. The walk goes on to a
// symlink's target when link is not "", to n otherwise, which may be nil.
type override func(path string, n *node) (to *node, link string)

// walk resolves all of path inside root, symlinks included, with the semantics
// of securejoin: ".." and absolute targets stay below the root, and what does
// not exist is taken as it is written.
func walk(root *node, path string, over override) (*place, error) {
	p := &place{}
	links := 0
	for rest := path; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			p.pop()
			continue
		}
		n, link := p.child(root, name), ""
		if n != nil && n.Type == fstree.Symlink {
			link = n.Linkname
		}
		if over != nil {
			n, link = over(joinPath(p.path(), name), n)
		}
		if link == "" {
			p.names, p.nodes = append(p.names, name), append(p.nodes, n)
			continue
		}
		if links++; links > maxLinks {
			return nil, fmt.Errorf("%q leads through more than %d symlinks", path, maxLinks)
		}
		if strings.HasPrefix(link, "/") {
			p.names, p.nodes = p.names[:0], p.nodes[:0]
		}
		rest = link + "/" + rest
	}
	return p, nil
}

func (p *place) pop() {
	if n := len(p.names); n > 0 {
		p.names, p.nodes = p.names[:n-1], p.nodes[:n-1]
	}
}

// child finds a name below where p stands.
func (p *place) child(root *node, name string) *node {
	dir := p.node(root)
	if dir == nil || !dir.isDir() {
		return nil
	}
	return dir.children[name]
}

// node is what p leads to, nil when it does not exist.
func (p *place) node(root *node) *node {
	if len(p.nodes) == 0 {
		return root
	}
	return p.nodes[len(p.nodes)-1]
}

// makeDirs makes the missing directories of p and returns the last.
func (p *place) makeDirs(root *node) (*node, error) {
	dir := root
	for i, name := range p.names {
		next := p.nodes[i]
		if next == nil {
			next = newDirectory()
			dir.put(name, next)
		}
		if !next.isDir() {
			return nil, fmt.Errorf("lies below %q, which is a %v", strings.Join(p.names[:i+1], "/"), next.Type)
		}
		dir = next
	}
	return dir, nil
}
