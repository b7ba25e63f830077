package squashfs

import (
	"encoding/binary"

	"github.com/abupdate/abupdate/internal/fstree"
)

// Types of inodes (SQUASHFS_*_TYPE). The extended form of each has 7 more.
const (
	dirInode = iota + 1
	regInode
	symlinkInode
	blkdevInode
	chrdevInode
	fifoInode
	socketInode
	extended = 7
)

var inodeTypes = [...]uint16{
	fstree.Regular: regInode, fstree.Directory: dirInode, fstree.Symlink: symlinkInode,
	fstree.CharDevice: chrdevInode, fstree.BlockDevice: blkdevInode, fstree.FIFO: fifoInode, fstree.Socket: socketInode,
}

var le = binary.LittleEndian

// appendHeader appends what every inode starts with:
//
//	type, mode, uid, gid uint16 | mtime, inode number uint32
func appendHeader(b []byte, n node, ext bool) []byte {
	typ := inodeTypes[n.typ]
	if ext {
		typ += extended
	}
	b = le.AppendUint16(b, typ)
	b = le.AppendUint16(b, n.mode)
	b = le.AppendUint16(b, n.uid)
	b = le.AppendUint16(b, n.gid)
	b = le.AppendUint32(b, n.mtime)
	return le.AppendUint32(b, n.inode)
}

// appendFile appends a regular file's inode. run has the zero value for a
// file without blocks.
//
//	basic:    start, fragment, offset, size uint32 | block sizes
//	extended: start, size, sparse uint64 | nlink, fragment, offset, xattr uint32 | block sizes
func appendFile(b []byte, n node, c content, r run) []byte {
	ext := n.nlink > 1 || n.xattr != none || r.sparse > 0 || c.size > 1<<32-1 || r.start > 1<<32-1
	b = appendHeader(b, n, ext)
	if !ext {
		b = le.AppendUint32(b, uint32(r.start))
		b = le.AppendUint32(b, c.fragment)
		b = le.AppendUint32(b, c.offset)
		return le.AppendUint32(b, uint32(c.size))
	}
	b = le.AppendUint64(b, uint64(r.start))
	b = le.AppendUint64(b, uint64(c.size))
	b = le.AppendUint64(b, uint64(r.sparse))
	b = le.AppendUint32(b, n.nlink)
	b = le.AppendUint32(b, c.fragment)
	b = le.AppendUint32(b, c.offset)
	return le.AppendUint32(b, n.xattr)
}

// appendOther appends the inode of a symlink, device, fifo or socket:
//
//	nlink uint32 | symlink: length uint32, target; device: number uint32 | extended: xattr uint32
func appendOther(b []byte, n node, target []byte) []byte {
	ext := n.xattr != none
	b = appendHeader(b, n, ext)
	b = le.AppendUint32(b, n.nlink)
	switch n.typ {
	case fstree.Symlink:
		b = le.AppendUint32(b, uint32(len(target)))
		b = append(b, target...)
	case fstree.CharDevice, fstree.BlockDevice:
		b = le.AppendUint32(b, n.device)
	}
	if ext {
		b = le.AppendUint32(b, n.xattr)
	}
	return b
}

// A listing is where and how long a directory's entries are.
type listing struct {
	block  int64
	offset int
	size   int64
	index  []byte // encoded entries
	count  int    // number of them
}

// dirOverhead is what the format adds to a listing's size, for . and ..
const dirOverhead = 3

// appendDir appends a directory's inode.
//
//	basic:    block, nlink uint32 | size, offset uint16 | parent uint32
//	extended: nlink, size, block, parent uint32 | index count, offset uint16 | xattr uint32 | index
//
// The index is only worth its bytes when it saves reading a metadata block.
func appendDir(b []byte, n node, l listing, parent uint32) []byte {
	ext := n.xattr != none || l.size > metadataSize
	b = appendHeader(b, n, ext)
	if !ext {
		b = le.AppendUint32(b, uint32(l.block))
		b = le.AppendUint32(b, n.nlink)
		b = le.AppendUint16(b, uint16(l.size+dirOverhead))
		b = le.AppendUint16(b, uint16(l.offset))
		return le.AppendUint32(b, parent)
	}
	b = le.AppendUint32(b, n.nlink)
	b = le.AppendUint32(b, uint32(l.size+dirOverhead))
	b = le.AppendUint32(b, uint32(l.block))
	b = le.AppendUint32(b, parent)
	b = le.AppendUint16(b, uint16(l.count))
	b = le.AppendUint16(b, uint16(l.offset))
	b = le.AppendUint32(b, n.xattr)
	return append(b, l.index...)
}
