package fstree

import (
	"bytes"
	"iter"
)

// Entry returns what n is, with its path.
func (t *Tree) Entry(n Node) Entry {
	e := t.Meta(n)
	e.Path = t.Path(n)
	e.Linkname = string(t.Target(n))
	for name, value := range t.Xattrs(t.XattrSet(n)) {
		e.Xattrs = append(e.Xattrs, Xattr{Name: string(name), Value: append([]byte{}, value...)})
	}
	return e
}

// Meta returns the part of Entry that needs no memory: all but Path, Linkname
// and Xattrs.
func (t *Tree) Meta(n Node) Entry {
	o := t.object(n)
	e := Entry{Type: o.typ(), Mode: o.mode & permMask, UID: o.uid, GID: o.gid, ModTime: o.mtime}
	switch e.Type {
	case Regular:
		e.Size = int64(o.data)
	case CharDevice, BlockDevice:
		e.Major, e.Minor = uint32(o.data>>32), uint32(o.data)
	}
	return e
}

// Size returns the length of a regular file, 0 of anything else.
func (t *Tree) Size(n Node) int64 {
	if o := t.object(n); o.typ() == Regular {
		return int64(o.data)
	}
	return 0
}

// Target returns what the symlink n points to, nothing for other types. It is
// not a copy.
func (t *Tree) Target(n Node) []byte {
	o := t.object(n)
	if o.typ() != Symlink {
		return nil
	}
	return t.text.Get(uint32(o.data>>32), int(uint32(o.data)))
}

// XattrSet returns the number of n's set of attributes, NoXattrs when it has
// none. Equal sets have equal numbers.
func (t *Tree) XattrSet(n Node) uint32 { return t.object(n).xattrs }

// XattrSets returns the number of sets, which are numbered from 0.
func (t *Tree) XattrSets() uint32 { return t.xattrs.sets.Len() }

// Xattrs returns the names and values of a set by its number, in the order of
// names. They are not copies.
func (t *Tree) Xattrs(set uint32) iter.Seq2[[]byte, []byte] { return t.xattrs.all(set) }

// Entries returns the names in order, each directory before what it holds; of
// hard links all but the first come as such. It sorts the tree.
func (t *Tree) Entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		t.Sort()
		var first []Node // by object; made for the first hard link
		for n := range t.below(Root) {
			e := t.Entry(n)
			if t.Links(n) > 1 {
				if first == nil {
					first = make([]Node, t.objects.Len())
				}
				if at := &first[t.Object(n)]; *at == Root {
					*at = n
				} else {
					e = Entry{Path: e.Path, Type: Hardlink, Linkname: t.Path(*at)}
				}
			}
			if !yield(e) {
				return
			}
		}
	}
}

// below returns n and everything in it, directories before what they hold.
func (t *Tree) below(n Node) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for at := n; ; {
			if !yield(at) {
				return
			}
			next := t.linked(t.first(at))
			for next == 0 && at != n {
				next = t.linked(t.name(at).next)
				if next == 0 {
					at = t.Parent(at)
				}
			}
			if next == 0 {
				return
			}
			at = Node(next)
		}
	}
}

// linked returns the first of the names from c on that is not unlinked.
func (t *Tree) linked(c uint32) uint32 {
	for c != 0 && t.names.At(c).flags&unlinked != 0 {
		c = t.names.At(c).next
	}
	return c
}

// Sort puts what is in each directory into the order of names.
func (t *Tree) Sort() {
	if t.sorted {
		return
	}
	for n := range t.below(Root) {
		if o := t.object(n); o.typ() == Directory && o.data != 0 {
			o.data = uint64(t.sort(uint32(o.data)))
		}
	}
	t.sorted = true
}

// sort sorts the list that begins at first, without the names that were
// removed, and returns its new beginning. It merges lists of 1, 2, 4... names,
// which takes no memory.
func (t *Tree) sort(first uint32) uint32 {
	var lists [32]uint32 // lists[i] is sorted and has 2^i names, or none
	for c := t.linked(first); c != 0; {
		at := t.names.At(c)
		list, next := c, t.linked(at.next)
		at.next = 0
		i := 0
		for ; lists[i] != 0; i++ {
			list, lists[i] = t.merge(lists[i], list), 0
		}
		lists[i] = list
		c = next
	}
	all := uint32(0)
	for _, list := range lists {
		all = t.merge(list, all)
	}
	return all
}

func (t *Tree) merge(a, b uint32) uint32 {
	var head uint32
	tail := &head
	for a != 0 && b != 0 {
		small := &a
		if bytes.Compare(t.NameBytes(Node(b)), t.NameBytes(Node(a))) < 0 {
			small = &b
		}
		*tail = *small
		tail = &t.names.At(*small).next
		*small = *tail
	}
	*tail = a | b
	return head
}
