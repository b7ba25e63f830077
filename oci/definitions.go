package oci

import (
	"hash/maphash"

	"github.com/abupdate/abupdate/internal/fstree"
)

// definitions finds the last entry that a layer has for a path. It holds some
// 20 bytes for each entry while the whiteouts of the layer are resolved. Paths
// with one hash are told apart at a price, so the hash is one that nobody can
// foresee.
type definitions struct {
	log   *headerLog
	seed  maphash.Seed
	mask  uint64
	last  map[uint64]uint32 // by hash: the number of the last entry
	known map[string]definition
}

// A definition is what a layer puts at a path; the zero Type is nothing.
type definition struct {
	typ  fstree.Type
	link string
}

func newDefinitions(l *headerLog, mask uint64) *definitions {
	d := &definitions{log: l, seed: maphash.MakeSeed(), mask: mask, last: make(map[uint64]uint32, l.entries), known: map[string]definition{}}
	for n, r := range l.all(false) {
		if r.kind == object {
			d.last[d.hash(r.Path)] = uint32(n)
		}
	}
	return d
}

func (d *definitions) hash(path string) uint64 { return maphash.String(d.seed, path) & d.mask }

func (d *definitions) find(path string) definition {
	if def, ok := d.known[path]; ok {
		return def
	}
	var def definition
	if n, ok := d.last[d.hash(path)]; ok {
		r := d.log.entry(int(n))
		if r.Path != path {
			r = d.scan(path) // another path has the same hash
		}
		if r != nil {
			def = definition{r.Type, r.Linkname}
		}
	}
	d.known[path] = def
	return def
}

func (d *definitions) scan(path string) *record {
	var found *record
	for _, r := range d.log.all(false) {
		if r.kind == object && r.Path == path {
			c := *r
			found = &c
		}
	}
	return found
}

// shadow resolves a whiteout's directory as the finished layer will have it.
// Where the layer puts a directory in the place of a lower symlink (overlayfs
// then marks it opaque), what the symlink led to must not be touched.
func (d *definitions) shadow(t *fstree.Tree) override {
	return func(path string, n fstree.Node) (fstree.Node, string) {
		switch def := d.find(path); {
		case def.typ == 0 && n != fstree.NoNode && t.Type(n) == fstree.Symlink:
			return fstree.NoNode, string(t.Target(n))
		case def.typ == 0:
			return n, ""
		case def.typ == fstree.Symlink:
			return fstree.NoNode, def.link
		case def.typ == fstree.Directory && isDir(t, n):
			return n, ""
		}
		return fstree.NoNode, ""
	}
}
