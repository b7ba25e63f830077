package squashfs

import (
	"errors"
	"math"

	"github.com/abupdate/abupdate/internal/fstree"
)

// directory writes the inodes of dir's entries, its listing and its inode.
func (k *closing) directory(dir uint32) error {
	children := k.tree.children(dir)
	for _, child := range children {
		if err := k.inode(k.tree.target(child)); err != nil {
			return err
		}
	}
	w := newListingWriter(k.dirs)
	for _, child := range children {
		n := k.tree.at(k.tree.target(child))
		e := dirEntry{name: k.tree.name(k.tree.at(child)), typ: inodeTypes[n.typ], inode: n.inode, ref: k.refs[n.inode-1]}
		if err := w.add(e); err != nil {
			return err
		}
	}
	l, err := w.finish()
	if err != nil {
		return err
	}
	n := k.tree.at(dir)
	parent := uint32(len(k.refs)) + 1 // the root's, as mksquashfs has it
	if dir != root {
		parent = k.tree.at(n.parent).inode
	}
	return k.put(n, appendDir(k.buf[:0], n, l, parent))
}

// inode writes the inode of node i unless it is a directory or written.
func (k *closing) inode(i uint32) error {
	n := k.tree.at(i)
	switch {
	case n.typ == fstree.Directory || k.refs[n.inode-1] != noRef:
		return nil
	case n.typ == fstree.Regular:
		return k.put(n, k.file(n))
	default:
		return k.put(n, appendOther(k.buf[:0], n, k.text(n)))
	}
}

func (k *closing) text(n *node) []byte {
	if n.typ == fstree.Symlink {
		return k.tree.text(n)
	}
	return nil
}

func (k *closing) file(n *node) []byte {
	c := content{fragment: none, run: none}
	if n.data != none {
		c = *k.contents.at(n.data)
	}
	var r run
	if c.run != none {
		r = *k.pipe.runs.at(c.run)
	}
	b := appendFile(k.buf[:0], n, c, r)
	for i := range uint32(c.blockCount(k.opt.BlockSize)) {
		b = le.AppendUint32(b, *k.pipe.blocks.at(r.blocks + i))
	}
	return b
}

// put appends an encoded inode to the table.
func (k *closing) put(n *node, b []byte) error {
	k.buf = b[:0]
	block, offset := k.inodes.ref()
	if block > math.MaxUint32 {
		return errors.New("more than 4 GiB of inodes")
	}
	k.refs[n.inode-1] = metadataRef(block, offset)
	return k.inodes.write(b)
}
