package oci

import (
	"fmt"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// maxLinks is how many symlinks one path may lead through, as in umoci.
const maxLinks = 255

// A place is where a path leads: names from the root, free of symlinks, and
// the node of each, NoNode from the first that does not exist.
type place struct {
	tree  *fstree.Tree
	names []string
	nodes []fstree.Node
}

func (p *place) path() string { return strings.Join(p.names, "/") }

// override replaces what a walk finds at a path. The walk goes on to a
// symlink's target when link is not "", to n otherwise, which may be NoNode.
type override func(path string, n fstree.Node) (to fstree.Node, link string)

// walk resolves all of path inside the root, symlinks included, with the
// semantics of securejoin: ".." and absolute targets stay below the root, and
// what does not exist is taken as it is written. It reuses p.
func (p *place) walk(path string, over override) error {
	p.names, p.nodes = p.names[:0], p.nodes[:0]
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
		n := p.child(name)
		link := p.link(n)
		if over != nil {
			n, link = over(joinPath(p.path(), name), n)
		}
		if link == "" {
			p.names, p.nodes = append(p.names, name), append(p.nodes, n)
			continue
		}
		if links++; links > maxLinks {
			return fmt.Errorf("%q leads through more than %d symlinks", path, maxLinks)
		}
		if strings.HasPrefix(link, "/") {
			p.names, p.nodes = p.names[:0], p.nodes[:0]
		}
		rest = link + "/" + rest
	}
	return nil
}

func (p *place) pop() {
	if n := len(p.names); n > 0 {
		p.names, p.nodes = p.names[:n-1], p.nodes[:n-1]
	}
}

// child finds a name below where p stands.
func (p *place) child(name string) fstree.Node {
	dir := p.node()
	if !isDir(p.tree, dir) {
		return fstree.NoNode
	}
	return p.tree.Child(dir, name)
}

// link is the target of n when that is a symlink, else "".
func (p *place) link(n fstree.Node) string {
	if n == fstree.NoNode {
		return ""
	}
	return string(p.tree.Target(n))
}

// node is what p leads to, NoNode when it does not exist.
func (p *place) node() fstree.Node {
	if len(p.nodes) == 0 {
		return fstree.Root
	}
	return p.nodes[len(p.nodes)-1]
}

// makeDirs makes the missing directories of p and returns the last.
func (p *place) makeDirs() (fstree.Node, error) {
	dir := fstree.Root
	for i, name := range p.names {
		next := p.nodes[i]
		if next == fstree.NoNode {
			var err error
			if next, err = p.tree.Mkdir(dir, name); err != nil {
				return next, err
			}
		}
		if !isDir(p.tree, next) {
			return next, fmt.Errorf("lies below %q, which is a %v", strings.Join(p.names[:i+1], "/"), p.tree.Type(next))
		}
		dir = next
	}
	return dir, nil
}

func isDir(t *fstree.Tree, n fstree.Node) bool {
	return n != fstree.NoNode && t.Type(n) == fstree.Directory
}
