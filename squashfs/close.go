package squashfs

import (
	"bytes"
	"errors"

	"github.com/abupdate/abupdate/internal/fstree"
)

// Close writes what is left: the last fragment block, the tables of what the
// tree holds, and with WriteFirst the block that makes an image of it all. The
// contents that the tree names must come from File. The tree is sorted.
func (w *Writer) Close(tree *fstree.Tree) (Stats, error) {
	if w.err != nil {
		return Stats{}, w.err
	}
	for len(w.group.members) > 0 {
		w.flushGroup(len(w.group.members))
	}
	w.err = errClosed
	err := w.pipe.finish()
	if err == nil {
		err = w.finish(tree)
	}
	stats := w.stats
	if err != nil {
		w.err = err
		stats = Stats{}
	}
	w.release()
	return stats, err
}

// A closing is what Close needs besides the Writer.
type closing struct {
	*Writer
	c       compressor
	tree    *fstree.Tree
	ids     ids
	xattrs  xattrs
	inodes  *metadataWriter
	dirs    *metadataWriter
	inodeOf []uint32 // inode numbers by object, 0 for none
	refs    []uint64 // of inodes, by inode number - 1; noRef before they are written
	buf     []byte
	super   superblock
}

const noRef = ^uint64(0)

func (w *Writer) finish(tree *fstree.Tree) error {
	c, err := newCompressor(w.opt, metadataSize)
	if err != nil {
		return err
	}
	w.byTag, w.whole, w.group = nil, nil, group{} // room for what follows
	tree.Sort()
	k := &closing{Writer: w, c: c, tree: tree, inodeOf: make([]uint32, tree.Objects())}
	dirs := k.number()
	dataEnd := w.out.pos - w.out.padded
	if err := k.writeTables(dirs); err != nil {
		return err
	}
	w.stats.Used = w.out.pos
	w.stats.Tables = w.out.pos - w.out.padded - dataEnd
	w.stats.Inodes = len(k.refs)
	w.stats.Holes, w.stats.DataOut = w.pipe.holes, w.pipe.dataOut
	k.super.bytesUsed = uint64(w.out.pos)
	if err := w.out.finish(k.super.encode(w.opt)); err != nil {
		return err
	}
	w.stats.Bytes, w.stats.Padding = w.out.pos, w.out.padded
	return nil
}

// number gives every inode its number, level by level, so that the numbers in
// one directory are close to each other. It returns the directories in order.
func (k *closing) number() []fstree.Node {
	next := uint32(1)
	k.inodeOf[k.tree.Object(fstree.Root)] = next
	dirs := []fstree.Node{fstree.Root}
	for i := 0; i < len(dirs); i++ {
		for n := range k.tree.Children(dirs[i]) {
			object := k.tree.Object(n)
			if k.inodeOf[object] != 0 {
				k.stats.Links++
				continue
			}
			next++
			k.inodeOf[object] = next
			switch k.tree.Type(n) {
			case fstree.Directory:
				dirs = append(dirs, n)
			case fstree.Regular:
				k.stats.Files++
			}
		}
	}
	k.refs = make([]uint64, next)
	for i := range k.refs {
		k.refs[i] = noRef
	}
	return dirs
}

func (k *closing) writeTables(dirs []fstree.Node) (err error) {
	if err := k.align(); err != nil {
		return err
	}
	k.super.inodeTable = uint64(k.out.pos)
	var dirTable bytes.Buffer
	k.inodes, k.dirs = newMetadataWriter(k.out, k.c), newMetadataWriter(&dirTable, k.c)
	for i := len(dirs) - 1; i >= 0; i-- { // a directory's entries name inodes: deepest first
		if err := k.directory(dirs[i]); err != nil {
			return err
		}
	}
	if err := errors.Join(k.inodes.flush(), k.dirs.flush()); err != nil {
		return err
	}
	k.super.rootInode = k.refs[k.inodeOf[k.tree.Object(fstree.Root)]-1]
	k.super.inodes = uint32(len(k.refs))

	if err := k.align(); err != nil {
		return err
	}
	k.super.directoryTable = uint64(k.out.pos)
	if _, err := k.out.Write(dirTable.Bytes()); err != nil {
		return err
	}
	return k.writeLookups()
}

// writeLookups writes the tables of fragments, inodes by number, owners and
// xattrs. The kernel wants each index to end where the next table begins. There
// is no padding before them: go-diskfs reads three bytes more of a listing than
// it has, and so wants a metadata block behind the last one.
func (k *closing) writeLookups() error {
	var records []byte
	for i := range k.pipe.fragments.len() {
		f := k.pipe.fragments.at(i)
		records = le.AppendUint64(records, uint64(f.start))
		records = le.AppendUint32(records, f.size)
		records = le.AppendUint32(records, 0)
	}
	k.super.fragments = k.pipe.fragments.len()
	start, err := writeLookup(k.out, k.c, records, nil)
	if err != nil {
		return err
	}
	k.super.fragmentTable = uint64(start)

	records = records[:0]
	for _, ref := range k.refs {
		records = le.AppendUint64(records, ref)
	}
	if start, err = writeLookup(k.out, k.c, records, nil); err != nil {
		return err
	}
	k.super.exportTable = uint64(start)

	k.super.ids = uint16(len(k.ids.numbers))
	if start, err = writeLookup(k.out, k.c, k.ids.encode(), nil); err != nil {
		return err
	}
	k.super.idTable = uint64(start)

	start, err = k.xattrs.write(k.tree, k.out, k.c)
	k.super.xattrTable = uint64(start)
	return err
}

func (k *closing) align() error {
	if k.opt.Layout == Aligned {
		return k.out.pad()
	}
	return nil
}
