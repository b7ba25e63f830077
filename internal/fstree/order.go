package fstree

import "iter"

// All returns every name in order, the root first, each directory before what
// it holds. It sorts the tree, which must not be changed meanwhile.
func (t *Tree) All() iter.Seq[Node] {
	t.Sort()
	return t.below(Root)
}

// AppendName appends n's name in its directory to b.
func (t *Tree) AppendName(b []byte, n Node) []byte { return append(b, t.NameBytes(n)...) }

// First returns the first name, in the order of All, of n's object. Once it
// was called, the tree must not be changed.
func (t *Tree) First(n Node) Node {
	if t.Links(n) < 2 {
		return n
	}
	if t.firsts == nil {
		t.firsts = map[uint32]Node{}
		for m := range t.All() {
			if t.Links(m) < 2 {
				continue
			}
			if _, ok := t.firsts[t.Object(m)]; !ok {
				t.firsts[t.Object(m)] = m
			}
		}
	}
	return t.firsts[t.Object(n)]
}
