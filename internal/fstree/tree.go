package fstree

import (
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/paged"
)

// A Node is a name in a Tree. It stays good when the name is removed.
type Node uint32

// Root is the node of the root directory; NoNode is none.
const (
	Root   = Node(0)
	NoNode = ^Node(0)
)

// A Content is the number that whoever stores the bytes of files gave to those
// of one file.
type Content uint32

// NoContent is the content of empty files and of what is no regular file.
const NoContent = ^Content(0)

// A Tree holds a file system's names and objects without their content. Names
// that are hard links of each other share an object. What it keeps has no
// pointers, so that a million entries are nothing to the garbage collector:
// about 70 bytes for each besides the name.
type Tree struct {
	names   paged.Table[name]
	objects paged.Table[object]
	text    paged.Arena // names and targets of symlinks
	xattrs  xattrSets
	index   paged.Index // of names by directory and text
	seed    maphash.Seed
	count   int
	sorted  bool
}

// A name is an entry of a directory.
type name struct {
	parent uint32
	text   uint32 // in Tree.text
	object uint32
	next   uint32 // in the directory
	length uint16
	flags  uint16
}

const (
	// unlinked is a name that its directory no longer has. Its index slot may
	// be another's.
	unlinked = 1 << iota
	// detached is unlinked, or below what is.
	detached
	// implicit is a directory that nothing but what it holds tells of.
	implicit
)

// An object is what one or more names stand for.
type object struct {
	// data depends on the type: a regular file's size, a symlink's span in
	// Tree.text, a device's numbers or a directory's first name (none: 0, as
	// the root is in no directory).
	data     uint64
	mtime    int64
	uid, gid uint32
	content  Content
	xattrs   uint32
	links    uint32 // names that are not detached
	mode     uint16 // permissions, type and wasLinked
}

const (
	permMask  = 1<<12 - 1
	typeShift = 12
	typeMask  = 7 << typeShift
	// wasLinked is an object that has had more than one name, some of them
	// perhaps detached and still asked for.
	wasLinked = 1 << 15
)

// NewTree returns a tree that holds only the root, a directory of mode 0755.
func NewTree() *Tree {
	t := &Tree{seed: maphash.MakeSeed(), count: 1, sorted: true}
	t.objects.Add(directoryObject())
	t.names.Add(name{parent: uint32(NoNode), flags: implicit})
	return t
}

func directoryObject() object {
	return object{mode: 0o755 | uint16(Directory)<<typeShift, links: 1, content: NoContent, xattrs: NoXattrs}
}

func (t *Tree) name(n Node) *name     { return t.names.At(uint32(n)) }
func (t *Tree) object(n Node) *object { return t.objects.At(t.name(n).object) }
func (o *object) typ() Type           { return Type(o.mode & typeMask >> typeShift) }

// Len returns the number of names, the root among them.
func (t *Tree) Len() int { return t.count }

// Bytes returns the memory that the tree takes.
func (t *Tree) Bytes() int64 {
	return t.names.Bytes() + t.objects.Bytes() + t.text.Bytes() + t.xattrs.bytes() + t.index.Bytes()
}

// Parent returns the directory that n is in or was removed from, NoNode for
// the root.
func (t *Tree) Parent(n Node) Node { return Node(t.name(n).parent) }

// Name returns n's name in its directory.
func (t *Tree) Name(n Node) string { return string(t.NameBytes(n)) }

// NameBytes is Name without a copy.
func (t *Tree) NameBytes(n Node) []byte {
	at := t.name(n)
	return t.text.Get(at.text, int(at.length))
}

// Path returns the names from the root to n, with slashes.
func (t *Tree) Path(n Node) string {
	var names []string
	for ; n != Root; n = t.Parent(n) {
		names = append(names, t.Name(n))
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// Type returns the type of n's object, which is never Hardlink.
func (t *Tree) Type(n Node) Type { return t.object(n).typ() }

// Object returns the number of n's object, which n shares with its hard links.
// Numbers count from 0; those of replaced objects stay unused or are taken
// again.
func (t *Tree) Object(n Node) uint32 { return t.name(n).object }

// Objects returns a number above that of all objects.
func (t *Tree) Objects() uint32 { return t.objects.Len() }

// Links returns the number of names that n's object has.
func (t *Tree) Links(n Node) int { return int(t.object(n).links) }

// Content returns what SetContent said, at first NoContent.
func (t *Tree) Content(n Node) Content { return t.object(n).content }

// SetContent says which bytes the regular file n has.
func (t *Tree) SetContent(n Node, c Content) { t.object(n).content = c }

func (t *Tree) hash(dir Node, text string) uint64 {
	return (maphash.String(t.seed, text) ^ uint64(dir)*0x9e3779b97f4a7c15) * 0xd6e8feb86659fd93
}

// slot finds a name, also an unlinked one.
func (t *Tree) slot(dir Node, text string) (slot paged.Slot, n Node, ok bool) {
	slot, i, ok := t.index.Find(t.hash(dir, text), func(i uint32) bool {
		return t.names.At(i).parent == uint32(dir) && string(t.NameBytes(Node(i))) == text
	})
	return slot, Node(i), ok
}

// Child returns what is called text in the directory dir, or NoNode. In a
// directory that was removed it finds what was there.
func (t *Tree) Child(dir Node, text string) Node {
	if _, n, ok := t.slot(dir, text); ok && t.name(n).flags&unlinked == 0 {
		return n
	}
	return NoNode
}

// Children returns what is in the directory n: in the order of names after
// Sort, in any before. What the loop removes does not disturb it.
func (t *Tree) Children(n Node) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for c := t.first(n); c != 0; {
			at := t.names.At(c)
			next := at.next
			if at.flags&unlinked == 0 && !yield(Node(c)) {
				return
			}
			c = next
		}
	}
}

func (t *Tree) first(n Node) uint32 {
	if o := t.object(n); o.typ() == Directory {
		return uint32(o.data)
	}
	return 0
}

var (
	errRemoved = errors.New("the directory was removed")
	errNames   = errors.New("more than 4 GiB of names")
)

// room checks that the directory dir can take a name and returns its slot in
// the index and what it stands for now, if anything.
func (t *Tree) room(dir Node, text string) (slot paged.Slot, old Node, err error) {
	switch at := t.name(dir); {
	case text == "" || text == "." || text == ".." || strings.Contains(text, "/"):
		return 0, NoNode, fmt.Errorf("%q is no name in a path", text)
	case strings.IndexByte(text, 0) >= 0:
		return 0, NoNode, fmt.Errorf("name %q has a zero byte", text)
	case len(text) > math.MaxUint16:
		return 0, NoNode, fmt.Errorf("name of %d bytes", len(text))
	case t.Type(dir) != Directory:
		return 0, NoNode, fmt.Errorf("%q is a %v, not a directory", t.Path(dir), t.Type(dir))
	case at.flags&detached != 0:
		return 0, NoNode, errRemoved
	case t.names.Len() >= math.MaxUint32-1:
		return 0, NoNode, errors.New("more than 2^32 names")
	}
	t.index.Grow(func(i uint32) uint64 {
		return t.hash(Node(t.names.At(i).parent), t.Name(Node(i)))
	})
	slot, old, ok := t.slot(dir, text)
	if !ok || t.name(old).flags&unlinked != 0 {
		old = NoNode
	}
	return slot, old, nil
}

// insert makes a name for an object in the slot that room returned.
func (t *Tree) insert(slot paged.Slot, dir Node, text string, object uint32, flags uint16) (Node, error) {
	ref, ok := t.text.Add(text)
	if !ok {
		return NoNode, errNames
	}
	d := t.object(dir)
	i := t.names.Add(name{parent: uint32(dir), text: ref, length: uint16(len(text)), object: object, next: uint32(d.data), flags: flags})
	d.data = uint64(i)
	t.index.Set(slot, i)
	t.count++
	t.sorted = false
	return Node(i), nil
}
