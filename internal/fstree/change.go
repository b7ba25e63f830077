package fstree

import (
	"errors"
	"fmt"
	"strings"
)

// Put makes a new object called text in the directory dir, in place of
// whatever has that name, with all that is below. e.Path is ignored.
func (t *Tree) Put(dir Node, text string, e Entry) (Node, error) {
	slot, old, err := t.room(dir, text)
	if err != nil {
		return NoNode, err
	}
	o, err := t.newObject(e)
	if err != nil {
		return NoNode, err
	}
	if old == NoNode {
		return t.insert(slot, dir, text, t.objects.Add(o), 0)
	}
	if was := t.object(old); was.typ() != Directory && was.mode&wasLinked == 0 {
		*was = o
		return old, nil
	}
	t.Remove(old)
	return t.insert(slot, dir, text, t.objects.Add(o), 0)
}

// newObject makes an object of e.
func (t *Tree) newObject(e Entry) (object, error) {
	o := object{content: NoContent, links: 1, mode: uint16(e.Type) << typeShift}
	switch e.Type {
	case Regular:
		if e.Size < 0 {
			return o, fmt.Errorf("size %d", e.Size)
		}
		o.data = uint64(e.Size)
	case Directory, FIFO, Socket:
	case CharDevice, BlockDevice:
		o.data = uint64(e.Major)<<32 | uint64(e.Minor)
	case Symlink:
		ref, ok := t.text.Add(e.Linkname)
		if !ok {
			return o, errNames
		}
		o.data = uint64(ref)<<32 | uint64(uint32(len(e.Linkname)))
	default:
		return o, fmt.Errorf("unknown %v", e.Type)
	}
	err := t.setMeta(&o, e)
	return o, err
}

func (t *Tree) setMeta(o *object, e Entry) (err error) {
	if o.xattrs, err = t.xattrs.add(t.seed, e.Xattrs); err != nil {
		return err
	}
	o.mode = o.mode&^permMask | e.Mode&permMask
	o.uid, o.gid, o.mtime = e.UID, e.GID, e.ModTime
	return nil
}

// SetMeta gives the object of n mode, owner, time and attributes of e. What a
// directory holds stays.
func (t *Tree) SetMeta(n Node, e Entry) error {
	t.name(n).flags &^= implicit
	return t.setMeta(t.object(n), e)
}

// Mkdir makes a directory that nobody describes: mode 0755 of root, time 0.
func (t *Tree) Mkdir(dir Node, text string) (Node, error) {
	n, err := t.Put(dir, text, Entry{Type: Directory, Mode: 0o755})
	if err == nil {
		t.name(n).flags |= implicit
	}
	return n, err
}

// Link makes a further name for the object of target, which may have been
// removed, in place of whatever has that name.
func (t *Tree) Link(dir Node, text string, target Node) (Node, error) {
	if t.Type(target) == Directory {
		return NoNode, fmt.Errorf("%q is a directory", t.Path(target))
	}
	slot, old, err := t.room(dir, text)
	if err != nil {
		return NoNode, err
	}
	if old != NoNode {
		if t.Object(old) == t.Object(target) {
			return old, nil
		}
		t.Remove(old)
	}
	o := t.object(target)
	n, err := t.insert(slot, dir, text, t.Object(target), 0)
	if err == nil {
		o.links++
		o.mode |= wasLinked
	}
	return n, err
}

// Remove takes n and all below out of the tree. They can still be read and be
// targets of Link.
func (t *Tree) Remove(n Node) {
	if n == Root || t.name(n).flags&detached != 0 {
		return
	}
	t.name(n).flags |= unlinked
	for at := range t.below(n) {
		t.name(at).flags |= detached
		t.object(at).links--
		t.count--
	}
}

// Add puts e at e.Path. Directories on the way that are not there are made; a
// hard link needs what its Linkname names. A path that is there already can
// only be a directory that was made on the way to another.
func (t *Tree) Add(e Entry) (Node, error) {
	n, err := t.add(e)
	if err != nil {
		return NoNode, fmt.Errorf("adding %q: %w", e.Path, err)
	}
	return n, nil
}

func (t *Tree) add(e Entry) (Node, error) {
	if e.Path == "" {
		return Root, t.describe(Root, e)
	}
	dir := Root
	for rest := e.Path; ; {
		text, deeper, more := strings.Cut(rest, "/")
		n := t.Child(dir, text)
		switch {
		case !more && n != NoNode:
			return n, t.describe(n, e)
		case !more && e.Type == Hardlink:
			target := t.Find(e.Linkname)
			if target == NoNode {
				return NoNode, fmt.Errorf("no entry %q", e.Linkname)
			}
			return t.Link(dir, text, target)
		case !more:
			return t.Put(dir, text, e)
		case n == NoNode:
			var err error
			if n, err = t.Mkdir(dir, text); err != nil {
				return NoNode, err
			}
		}
		dir, rest = n, deeper
	}
}

// describe says what an implicit directory is like.
func (t *Tree) describe(n Node, e Entry) error {
	switch {
	case t.name(n).flags&implicit == 0:
		return errors.New("added before")
	case e.Type != Directory:
		return fmt.Errorf("a %v where a directory with entries is", e.Type)
	}
	return t.SetMeta(n, e)
}

// Find returns what stands at a path; symlinks are not followed.
func (t *Tree) Find(path string) Node {
	n := Root
	for rest := path; rest != "" && n != NoNode; {
		var text string
		text, rest, _ = strings.Cut(rest, "/")
		n = t.Child(n, text)
	}
	return n
}
