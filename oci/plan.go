package oci

import (
	"context"
	"iter"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
)

// maxPath is the kernel's limit for a path, with its final zero byte.
const maxPath = 4096

// A Plan is the flattened image.
type Plan struct {
	// Tree is sorted. Regular files have the content that Contents gave them.
	Tree *fstree.Tree
	// Dropped counts the extended attributes that were left out, by name.
	Dropped     map[string]int
	Files       int   // regular files, hardlinks counted once
	Bytes       int64 // of all regular files
	Unused      int64 // bytes that Contents took and that nothing names
	SecondReads int   // layers that were read twice
	LocalLayers int   // layers that were at hand and not fetched
	LocalBytes  int64 // of these, compressed
	// Layers is the list of the layers for ParseLayers, if ReadOptions asked
	// for it.
	Layers []byte

	img     *Image
	local   *Local
	origins origins
	tops    []int                  // of each layer: the highest place where it is listed
	first   map[uint32]fstree.Node // of each object with several names
	kept    map[origin][]byte      // contents of small files
	list    *listWriter            // of Layers, not yet made
}

// Entries lists the tree: a directory stands before its children, the root is
// first, and a hardlink stands after its first name.
func (p *Plan) Entries() iter.Seq[fstree.Entry] { return p.Tree.Entries() }

// plan flattens the layers, and reads again what is missing.
func (rd *reader) plan(ctx context.Context) (*Plan, error) {
	p := &Plan{
		Dropped: map[string]int{}, img: rd.img, local: rd.local, first: map[uint32]fstree.Node{}, kept: map[origin][]byte{},
		LocalLayers: rd.localLayers, LocalBytes: rd.localBytes,
	}
	listed := make([]int, len(rd.layers))
	for _, l := range rd.layers {
		p.tops = append(p.tops, l.top)
		listed[l.top]++
		for ordinal, b := range l.kept {
			p.kept[newOrigin(l.top, ordinal)] = b
		}
	}
	if err := rd.list.addHeaders(rd.img, rd.layers); err != nil {
		return nil, err
	}
	f, err := flatten(rd.img, rd.layers)
	if err != nil {
		return nil, err
	}
	rd.layers = nil
	f.tree.Sort()
	p.Tree, p.origins = f.tree, f.origins
	s := survey{reader: rd, plan: p, dropped: f.dropped, listed: listed, used: map[origin]bool{}}
	if err := s.visit(fstree.Root, 0); err != nil {
		return nil, fault.Errorf(fault.Verify, "%v: %w", rd.img.ref, err)
	}
	rd.attrs = nil
	p.Unused = rd.given - s.usedBytes
	if err := rd.again(ctx, p, s.missing); err != nil {
		return nil, err
	}
	if p.list = rd.list; rd.late {
		return p, nil
	}
	return p, p.ListLayers()
}

// ListLayers makes Layers if ReadOptions asked for it Late. It is called once,
// with the Tree as it was.
func (p *Plan) ListLayers() (err error) {
	p.Layers, err = p.list.finish(p.Tree)
	p.list = nil
	return err
}

// A survey counts what the flattened tree holds, and finds the files whose
// contents were passed over.
type survey struct {
	*reader
	plan      *Plan
	dropped   map[uint32]uint32
	listed    []int           // how often each layer is listed, at its highest place
	used      map[origin]bool // entries of layers that are listed several times
	usedBytes int64
	missing   []pick
}

// visit counts n and what is below it; length is that of its path.
func (s *survey) visit(n fstree.Node, length int) error {
	t := s.plan.Tree
	if length >= maxPath {
		return fault.Errorf(fault.Verify, "path %.40q... has %d bytes, more than %d", t.Path(n), length, maxPath-1)
	}
	if !s.known(n) {
		if err := s.count(n); err != nil {
			return err
		}
	}
	if t.Type(n) != fstree.Directory {
		return nil
	}
	if n != fstree.Root {
		length++ // the slash
	}
	for child := range t.Children(n) {
		if err := s.visit(child, length+len(t.Name(child))); err != nil {
			return err
		}
	}
	return nil
}

// known reports whether n is a further name of something that was counted.
func (s *survey) known(n fstree.Node) bool {
	t := s.plan.Tree
	if t.Type(n) == fstree.Directory || t.Links(n) < 2 {
		return false
	}
	_, ok := s.plan.first[t.Object(n)]
	if !ok {
		s.plan.first[t.Object(n)] = n
	}
	return ok
}

func (s *survey) count(n fstree.Node) error {
	t, p := s.plan.Tree, s.plan
	if set, ok := s.dropped[t.Object(n)]; ok {
		for _, name := range s.attrs.names(uint64(set - 1)) {
			p.Dropped[name]++
		}
	}
	if t.Type(n) != fstree.Regular {
		return nil
	}
	size := t.Size(n)
	p.Files++
	p.Bytes += size
	if p.Bytes > s.limits.TotalBytes || p.Bytes < 0 { // a sparse file costs its publisher nothing
		return fault.Errorf(fault.Refused, "files have more than %d bytes", s.limits.TotalBytes)
	}
	if size == 0 || s.contents == nil {
		return nil
	}
	at := p.origin(n)
	s.list.found(at, n)
	if t.Content(n) == fstree.NoContent {
		s.missing = append(s.missing, pick{at, n})
	} else if !s.used[at] {
		s.usedBytes += size
		if s.listed[at.layer()] > 1 {
			s.used[at] = true
		}
	}
	return nil
}

// origin is where n's entry stands, in the highest place where its layer is
// listed.
func (p *Plan) origin(n fstree.Node) origin {
	o := p.origins.of(p.Tree.Object(n))
	return newOrigin(p.tops[o.layer()], o.ordinal())
}

// Lookup finds the entry at a path, symlinks followed inside the image. For a
// hardlink it is the entry of the first name.
func (p *Plan) Lookup(path string) (fstree.Entry, bool) {
	n, ok := p.lookup(path)
	if !ok {
		return fstree.Entry{}, false
	}
	return p.Tree.Entry(n), true
}

func (p *Plan) lookup(path string) (fstree.Node, bool) {
	at := place{tree: p.Tree}
	if err := at.walk(path, nil); err != nil {
		return fstree.NoNode, false
	}
	n := at.node()
	if n == fstree.NoNode {
		return n, false
	}
	if first, ok := p.first[p.Tree.Object(n)]; ok {
		n = first
	}
	return n, true
}
