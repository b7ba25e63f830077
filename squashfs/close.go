package squashfs

import (
	"errors"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/internal/paged"
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
	places  []uint32 // of inodes, by inode number - 1: lengths of inodes; noPlace before they are written
	buf     []byte
	super   superblock
}

const noPlace = ^uint32(0)

func (w *Writer) finish(tree *fstree.Tree) error {
	c, err := newCompressor(w.opt, metadataSize)
	if err != nil {
		return err
	}
	w.contents.forgetTags()
	w.whole, w.group = nil, group{}
	tree.Sort()
	k := &closing{Writer: w, c: c, tree: tree, xattrs: xattrs{tree: tree}, inodeOf: make([]uint32, tree.Objects())}
	dirs := k.number()
	dataEnd := w.out.pos - w.out.padded
	if err := k.writeTables(dirs); err != nil {
		return err
	}
	w.stats.Used = w.out.pos
	w.stats.Tables = w.out.pos - w.out.padded - dataEnd
	w.stats.Inodes = len(k.places)
	w.stats.Holes, w.stats.DataOut = w.pipe.holes, w.pipe.dataOut
	k.super.bytesUsed = uint64(w.out.pos)
	if err := w.out.finish(k.super.encode(w.opt)); err != nil {
		return err
	}
	w.stats.Bytes, w.stats.Padding = w.out.pos, w.out.padded
	return nil
}

// number gives every inode its number, so that the numbers in one directory
// are close to each other. It returns the directories, each before those in it
// and all of one before the next: whoever walks the tree then finds what comes
// next in the metadata blocks that the kernel still has.
func (k *closing) number() *paged.Table[fstree.Node] {
	next := uint32(1)
	k.inodeOf[k.tree.Object(fstree.Root)] = next
	dirs := new(paged.Table[fstree.Node])
	todo := []fstree.Node{fstree.Root}
	for len(todo) > 0 {
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		dirs.Add(dir)
		for n := range k.tree.Children(dir) {
			object := k.tree.Object(n)
			if k.inodeOf[object] != 0 {
				k.stats.Links++
				continue
			}
			next++
			k.inodeOf[object] = next
			switch k.tree.Type(n) {
			case fstree.Directory:
				todo = append(todo, n)
			case fstree.Regular:
				k.stats.Files++
			}
		}
	}
	k.places = make([]uint32, next)
	for i := range k.places {
		k.places[i] = noPlace
	}
	return dirs
}

func (k *closing) writeTables(dirs *paged.Table[fstree.Node]) error {
	if err := k.align(); err != nil {
		return err
	}
	k.super.inodeTable = uint64(k.out.pos)
	var dirTable pages
	k.inodes, k.dirs = newMetadataWriter(k.out, k.c), newMetadataWriter(&dirTable, k.c)
	for i := dirs.Len(); i > 0; i-- { // a directory's entries name inodes: deepest first
		if err := k.directory(*dirs.At(i - 1)); err != nil {
			return err
		}
	}
	if err := errors.Join(k.inodes.flush(), k.dirs.flush()); err != nil {
		return err
	}
	k.super.rootInode = k.ref(fstree.Root)
	k.super.inodes = uint32(len(k.places))

	if err := k.align(); err != nil {
		return err
	}
	k.super.directoryTable = uint64(k.out.pos)
	if err := dirTable.writeTo(k.out); err != nil {
		return err
	}
	return k.writeLookups()
}

// writeLookups writes the tables of fragments, inodes by number, owners and
// xattrs. The kernel wants each index to end where the next table begins. There
// is no padding before them: go-diskfs reads three bytes more of a listing than
// it has, and so wants a metadata block behind the last one.
func (k *closing) writeLookups() error {
	k.super.fragments = k.pipe.fragments.Len()
	k.super.ids = uint16(len(k.ids.numbers))
	for _, table := range []struct {
		start   *uint64
		records func(m *metadataWriter) error
	}{{&k.super.fragmentTable, k.writeFragments}, {&k.super.exportTable, k.writeExports}, {&k.super.idTable, k.ids.write}} {
		start, err := writeLookup(k.out, k.c, nil, table.records)
		if err != nil {
			return err
		}
		*table.start = uint64(start)
	}
	start, err := k.xattrs.write(k.out, k.c)
	k.super.xattrTable = uint64(start)
	return err
}

// writeFragments writes {position uint64, size uint32, 0 uint32}.
func (k *closing) writeFragments(m *metadataWriter) error {
	for i := range k.pipe.fragments.Len() {
		f := k.pipe.fragments.At(i)
		b := le.AppendUint64(k.buf[:0], uint64(f.start))
		b = le.AppendUint32(b, f.size)
		if err := m.write(le.AppendUint32(b, 0)); err != nil {
			return err
		}
	}
	return nil
}

// writeExports writes where each inode is, by number.
func (k *closing) writeExports(m *metadataWriter) error {
	for _, place := range k.places {
		if err := m.write(le.AppendUint64(k.buf[:0], k.inodes.refAt(int64(place)))); err != nil {
			return err
		}
	}
	return nil
}

func (k *closing) align() error {
	if k.opt.Layout == Aligned {
		return k.out.pad()
	}
	return nil
}
