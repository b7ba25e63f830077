package squashfs

import (
	"errors"
	"fmt"
	"math"

	"github.com/abupdate/abupdate/internal/fstree"
)

// directory writes the inodes of dir's entries, its listing and its inode.
func (k *closing) directory(dir fstree.Node) error {
	for n := range k.tree.Children(dir) {
		if err := k.inode(n); err != nil {
			return fmt.Errorf("adding %q: %w", k.tree.Path(n), err)
		}
	}
	subdirs := uint32(0)
	w := newListingWriter(k.dirs)
	for n := range k.tree.Children(dir) {
		typ, inode, name := k.tree.Type(n), k.inodeOf[k.tree.Object(n)], k.tree.NameBytes(n)
		if len(name) > maxName {
			return fmt.Errorf("adding %q: its name is longer than %d bytes", k.tree.Path(n), maxName)
		}
		if typ == fstree.Directory {
			subdirs++
		}
		e := dirEntry{name: name, typ: inodeTypes[typ], inode: inode, ref: k.ref(n)}
		if err := w.add(e); err != nil {
			return fmt.Errorf("listing %q: %w", k.tree.Path(dir), err)
		}
	}
	l, err := w.finish()
	if err != nil {
		return fmt.Errorf("listing %q: %w", k.tree.Path(dir), err)
	}
	out, err := k.node(dir)
	if err != nil {
		return fmt.Errorf("adding %q: %w", k.tree.Path(dir), err)
	}
	out.nlink = 2 + subdirs
	parent := uint32(len(k.places)) + 1 // the root's, as mksquashfs has it
	if dir != fstree.Root {
		parent = k.inodeOf[k.tree.Object(k.tree.Parent(dir))]
	}
	return k.put(out, appendDir(k.buf[:0], out, l, parent))
}

// inode writes the inode of n's object unless it is a directory or written.
func (k *closing) inode(n fstree.Node) error {
	typ := k.tree.Type(n)
	if typ == fstree.Directory || k.places[k.inodeOf[k.tree.Object(n)]-1] != noPlace {
		return nil
	}
	out, err := k.node(n)
	if err != nil {
		return err
	}
	if typ != fstree.Regular {
		return k.put(out, appendOther(k.buf[:0], out, k.tree.Target(n)))
	}
	c, err := k.content(n)
	if err != nil {
		return err
	}
	return k.put(out, k.appendFile(out, c))
}

func (k *closing) appendFile(n node, c content) []byte {
	var r run
	if c.run != none {
		r = *k.pipe.runs.At(c.run)
	}
	b := appendFile(k.buf[:0], n, c, r)
	for i := range uint32(c.blockCount(k.opt.BlockSize)) {
		b = le.AppendUint32(b, *k.pipe.blocks.At(r.blocks + i))
	}
	return b
}

// put appends an encoded inode to the table.
func (k *closing) put(n node, b []byte) error {
	k.buf = b[:0]
	at := k.inodes.length()
	if at >= int64(noPlace) || k.inodes.pos > math.MaxUint32 {
		return errors.New("more than 4 GiB of inodes")
	}
	k.places[n.inode-1] = uint32(at)
	return k.inodes.write(b)
}

// ref returns where the inode of n's object is, once it is written.
func (k *closing) ref(n fstree.Node) uint64 {
	return k.inodes.refAt(int64(k.places[k.inodeOf[k.tree.Object(n)]-1]))
}
