package unsquash

import (
	"fmt"

	"github.com/abupdate/abupdate/internal/fstree"
)

// Types of inodes (SQUASHFS_*_TYPE); the extended form of each has 7 more.
var types = [...]fstree.Type{
	1: fstree.Directory, 2: fstree.Regular, 3: fstree.Symlink,
	4: fstree.BlockDevice, 5: fstree.CharDevice, 6: fstree.FIFO, 7: fstree.Socket,
}

const (
	extended      = 7
	maxSymlink    = 64 << 10
	maxFileBlocks = 1 << 28 // 16 TiB of 64 KiB blocks, and a gigabyte of inode
)

// An inode is one object.
type inode struct {
	File
	listing  cursor // of a directory
	listSize int    // its length, bytes
	xattr    uint32
}

// fields reads little-endian integers of a record in turn.
type fields struct{ b []byte }

func (f *fields) u16() uint16 { v := le.Uint16(f.b); f.b = f.b[2:]; return v }
func (f *fields) u32() uint32 { v := le.Uint32(f.b); f.b = f.b[4:]; return v }
func (f *fields) u64() uint64 { v := le.Uint64(f.b); f.b = f.b[8:]; return v }

// inode reads the inode that ref names.
func (l *loader) inode(ref uint64) (inode, error) {
	n, err := l.bareInode(ref)
	if err == nil {
		if n.Xattrs, err = l.attributes(n.xattr); err != nil {
			err = fmt.Errorf("inode %d: %w", n.inode, err)
		}
	}
	return n, err
}

// bareInode leaves the attributes out.
func (l *loader) bareInode(ref uint64) (inode, error) {
	c := l.meta.at(l.im.sb.inodeTable, ref)
	b, err := c.read(16)
	if err != nil {
		return inode{}, err
	}
	f := fields{b}
	n := inode{xattr: none}
	typ, uid, gid := f.u16(), uint16(0), uint16(0)
	n.Mode, uid, gid, n.ModTime, n.inode = f.u16()&0o7777, f.u16(), f.u16(), int64(f.u32()), f.u32()
	ext := typ > extended
	if ext {
		typ -= extended
	}
	if typ == 0 || int(typ) >= len(types) || int(uid) >= len(l.ids) || int(gid) >= len(l.ids) {
		return n, fmt.Errorf("inode %d: type %d, owners %d and %d of %d: %w", n.inode, typ, uid, gid, len(l.ids), ErrCorrupt)
	}
	n.Type, n.UID, n.GID = types[typ], l.ids[uid], l.ids[gid]
	switch n.Type {
	case fstree.Directory:
		err = l.directory(&n, &c, ext)
	case fstree.Regular:
		err = l.regular(&n, &c, ext)
	default:
		err = l.other(&n, &c, ext)
	}
	if err != nil {
		return n, fmt.Errorf("inode %d: %w", n.inode, err)
	}
	return n, nil
}

func (l *loader) directory(n *inode, c *cursor, ext bool) error {
	var block, offset uint64
	if !ext {
		b, err := c.read(16)
		if err != nil {
			return err
		}
		f := fields{b}
		block, n.nlink, n.listSize, offset = uint64(f.u32()), f.u32(), int(f.u16()), uint64(f.u16())
	} else {
		b, err := c.read(24)
		if err != nil {
			return err
		}
		f := fields{b}
		n.nlink, n.listSize, block = f.u32(), int(f.u32()), uint64(f.u32())
		f.u32() // parent
		f.u16() // count of index entries
		offset, n.xattr = uint64(f.u16()), f.u32()
	}
	const overhead = 3 // in the size, for . and ..
	n.listSize = max(n.listSize-overhead, 0)
	n.listing = l.meta.at(l.im.sb.directoryTable, block<<16|offset)
	return nil
}

func (l *loader) regular(n *inode, c *cursor, ext bool) error {
	if !ext {
		b, err := c.read(16)
		if err != nil {
			return err
		}
		f := fields{b}
		n.data.start, n.data.fragment, n.data.offset, n.Size, n.nlink = int64(f.u32()), f.u32(), f.u32(), int64(f.u32()), 1
	} else {
		b, err := c.read(40)
		if err != nil {
			return err
		}
		f := fields{b}
		n.data.start, n.Size = int64(f.u64()), int64(f.u64())
		f.u64() // bytes in holes
		n.nlink, n.data.fragment, n.data.offset, n.xattr = f.u32(), f.u32(), f.u32(), f.u32()
	}
	size := int64(l.im.sb.blockSize)
	count := n.Size / size
	if n.data.fragment == none && n.Size%size != 0 {
		count++
	}
	if n.Size < 0 || count > maxFileBlocks {
		return fmt.Errorf("file of %d bytes: %w", n.Size, ErrCorrupt)
	}
	for count > 0 { // in pieces: an inode that lies meets the end of its table first
		b, err := c.read(int(min(count, metadataSize/4)) * 4)
		if err != nil {
			return err
		}
		for f := (fields{b}); len(f.b) > 0; count-- {
			n.data.blocks = append(n.data.blocks, f.u32())
		}
	}
	return nil
}

func (l *loader) other(n *inode, c *cursor, ext bool) error {
	b, err := c.read(4)
	if err != nil {
		return err
	}
	n.nlink = le.Uint32(b)
	switch n.Type {
	case fstree.Symlink:
		if b, err = c.read(4); err != nil {
			return err
		}
		length := le.Uint32(b)
		if length == 0 || length > maxSymlink {
			return fmt.Errorf("symlink of %d bytes: %w", length, ErrCorrupt)
		}
		if b, err = c.read(int(length)); err != nil {
			return err
		}
		n.Linkname = string(b)
	case fstree.CharDevice, fstree.BlockDevice:
		if b, err = c.read(4); err != nil {
			return err
		}
		dev := le.Uint32(b) // new_encode_dev
		n.Major, n.Minor = dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	}
	if ext {
		if b, err = c.read(4); err != nil {
			return err
		}
		n.xattr = le.Uint32(b)
	}
	return nil
}
