package squashfs

import (
	"fmt"
	"math"

	"github.com/abupdate/abupdate/internal/fstree"
)

const (
	none      = ^uint32(0) // no content, run, fragment or xattr set
	maxName   = 255        // NAME_MAX: the kernel looks no longer name up
	maxTarget = 4095       // PATH_MAX without the zero byte: the kernel refuses more than a page
)

// A node is what every inode says.
type node struct {
	typ    fstree.Type
	mode   uint16
	uid    uint16 // places in the id table
	gid    uint16
	mtime  uint32
	nlink  uint32
	xattr  uint32
	inode  uint32 // its number
	device uint32
}

// node returns what the inode of n's object says, or why no squashfs can hold
// it. Directories get their links from their listing.
func (k *closing) node(n fstree.Node) (node, error) {
	e := k.tree.Meta(n)
	out := node{typ: e.Type, mode: e.Mode & 0o7777, mtime: k.mtime(e.ModTime), nlink: uint32(k.tree.Links(n)),
		inode: k.inodeOf[k.tree.Object(n)]}
	var err error
	if out.uid, out.gid, err = k.ids.both(e.UID, e.GID); err != nil {
		return out, err
	}
	if out.xattr, err = k.xattrs.add(k.tree.XattrSet(n)); err != nil {
		return out, err
	}
	switch e.Type {
	case fstree.CharDevice, fstree.BlockDevice:
		if e.Major >= 1<<12 || e.Minor >= 1<<20 {
			return out, fmt.Errorf("device number %d:%d is larger than 12 and 20 bits", e.Major, e.Minor)
		}
		out.device = e.Minor&0xff | e.Major<<8 | e.Minor&^0xff<<12 // the kernel's new_encode_dev
	case fstree.Symlink:
		if target := k.tree.Target(n); len(target) == 0 || len(target) > maxTarget {
			return out, fmt.Errorf("symlink target of %d bytes, not of 1 to %d", len(target), maxTarget)
		}
	}
	return out, nil
}

// content returns where the bytes of the regular file n are.
func (k *closing) content(n fstree.Node) (content, error) {
	c, size := content{fragment: none, run: none}, k.tree.Size(n)
	switch i := k.tree.Content(n); {
	case i == fstree.NoContent:
	case uint32(i) >= k.contents.places.Len():
		return c, fmt.Errorf("no content %d", i)
	default:
		c = k.contents.get(i)
	}
	if c.size != size {
		return c, fmt.Errorf("its content has %d bytes, not %d", c.size, size)
	}
	return c, nil
}

func (k *closing) mtime(t int64) uint32 {
	u := clampTime(t)
	if int64(u) != t {
		k.stats.ClampedTimes++
	}
	return u
}

// clampTime moves t into the format's unsigned 32 bits: 1970 to 2106.
func clampTime(t int64) uint32 {
	return uint32(min(max(t, 0), math.MaxUint32))
}
