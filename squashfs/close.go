package squashfs

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/abupdate/abupdate/internal/fstree"
)

const superblockSize = 96

// Flags of the superblock (SQUASHFS_*): what is stored uncompressed, and that
// there is an export table.
const (
	flagNoInodes    = 1 << 0
	flagNoData      = 1 << 1
	flagNoFragments = 1 << 3
	flagDuplicates  = 1 << 6
	flagExport      = 1 << 7
	flagNoXattrs    = 1 << 8
	flagNoIDs       = 1 << 11
)

// Close writes what is left: the last fragment block, the tables, and with
// WriteFirst the block that makes an image of it all.
func (w *Writer) Close() (Stats, error) {
	if w.err != nil {
		return Stats{}, w.err
	}
	for len(w.group.members) > 0 {
		w.flushGroup(len(w.group.members))
	}
	w.err = errClosed
	err := w.pipe.finish()
	if err == nil {
		err = w.finish()
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
	c      compressor
	inodes *metadataWriter
	dirs   *metadataWriter
	refs   []uint64 // of inodes, by inode number - 1; noRef before they are written
	buf    []byte
	super  superblock
}

const noRef = ^uint64(0)

func (w *Writer) finish() error {
	c, err := newCompressor(w.opt, metadataSize)
	if err != nil {
		return err
	}
	if err := w.tree.resolve(); err != nil {
		return err
	}
	w.tree.sort()
	k := &closing{Writer: w, c: c}
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
func (k *closing) number() []uint32 {
	next := uint32(1)
	k.tree.at(root).inode = next
	dirs := []uint32{root}
	for i := 0; i < len(dirs); i++ {
		for _, child := range k.tree.children(dirs[i]) {
			n := k.tree.at(k.tree.target(child))
			if k.tree.at(child).typ == fstree.Hardlink {
				k.stats.Links++
			}
			if n.inode == 0 {
				next++
				n.inode = next
			}
			if n.typ == fstree.Directory {
				dirs = append(dirs, child)
			}
		}
	}
	k.refs = make([]uint64, next)
	for i := range k.refs {
		k.refs[i] = noRef
	}
	return dirs
}

func (k *closing) writeTables(dirs []uint32) (err error) {
	if err := k.align(); err != nil {
		return err
	}
	k.super.inodeTable = uint64(k.out.pos)
	var dirTable bytes.Buffer
	k.inodes, k.dirs = newMetadataWriter(k.out, k.c), newMetadataWriter(&dirTable, k.c)
	for i := len(dirs) - 1; i >= 0; i-- { // a directory's entries name inodes: deepest first
		if err := k.directory(dirs[i]); err != nil {
			return fmt.Errorf("listing %q: %w", k.tree.path(dirs[i]), err)
		}
	}
	if err := errors.Join(k.inodes.flush(), k.dirs.flush()); err != nil {
		return err
	}
	k.super.rootInode = k.refs[k.tree.at(root).inode-1]
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

	start, err = k.xattrs.write(k.out, k.c)
	k.super.xattrTable = uint64(start)
	return err
}

func (k *closing) align() error {
	if k.opt.Layout == Aligned {
		return k.out.pad()
	}
	return nil
}

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

// A superblock is block 0's content.
type superblock struct {
	inodes, fragments                          uint32
	ids                                        uint16
	rootInode, bytesUsed                       uint64
	idTable, xattrTable, inodeTable            uint64
	directoryTable, fragmentTable, exportTable uint64
}

func (s *superblock) encode(opt Options) []byte {
	flags, compression := uint16(flagDuplicates|flagExport), uint16(6)
	switch opt.Compression {
	case Gzip:
		compression = 1
	case None: // the number must still be that of a decoder the kernel has
		compression = 1
		flags |= flagNoInodes | flagNoData | flagNoFragments | flagNoXattrs | flagNoIDs
	}
	b := append(make([]byte, 0, superblockSize), "hsqs"...)
	b = le.AppendUint32(b, s.inodes)
	b = le.AppendUint32(b, clampTime(opt.ModTime))
	b = le.AppendUint32(b, uint32(opt.BlockSize))
	b = le.AppendUint32(b, s.fragments)
	b = le.AppendUint16(b, compression)
	b = le.AppendUint16(b, uint16(bits.TrailingZeros(uint(opt.BlockSize))))
	b = le.AppendUint16(b, flags)
	b = le.AppendUint16(b, s.ids)
	b = le.AppendUint16(b, 4) // version 4.0
	b = le.AppendUint16(b, 0)
	for _, v := range []uint64{s.rootInode, s.bytesUsed, s.idTable, s.xattrTable, s.inodeTable, s.directoryTable, s.fragmentTable, s.exportTable} {
		b = le.AppendUint64(b, v)
	}
	return b
}
