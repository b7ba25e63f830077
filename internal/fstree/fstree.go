// Package fstree describes the objects of a file system on their way from an
// image's layers into a slot: one as an Entry, all of them as a Tree.
package fstree

import (
	"cmp"
	"fmt"
	"slices"
)

// Type is the kind of a file system object.
type Type uint8

// The kinds of objects an image can hold. A Hardlink is a further name of the
// object that its Linkname names by path.
const (
	Regular Type = iota + 1
	Directory
	Symlink
	CharDevice
	BlockDevice
	FIFO
	Socket
	Hardlink
)

var typeNames = [...]string{
	Regular: "regular file", Directory: "directory", Symlink: "symlink", CharDevice: "character device",
	BlockDevice: "block device", FIFO: "fifo", Socket: "socket", Hardlink: "hardlink",
}

// String names the type in words.
func (t Type) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// An Xattr is one extended attribute with its full name ("user.note").
type Xattr struct {
	Name  string
	Value []byte
}

// An Entry is one object of a flattened file system.
type Entry struct {
	// Path is the name from the root, with slashes, without a leading one;
	// bytes as the image has them, not necessarily UTF-8. The root is "".
	Path string
	Type Type
	// Mode holds permission bits with setuid, setgid and sticky (07777).
	Mode     uint16
	UID, GID uint32
	// ModTime is in seconds since the Unix epoch.
	ModTime int64
	// Size is the length in bytes of a regular file's content.
	Size int64
	// Linkname is a symlink's target, or the Path of a hardlink's first name.
	Linkname string
	// Major and Minor number a device.
	Major, Minor uint32
	// Xattrs are sorted by name; names are unique.
	Xattrs []Xattr
}

// SortXattrs orders x by name, as Entry.Xattrs wants it.
func SortXattrs(x []Xattr) {
	slices.SortFunc(x, func(a, b Xattr) int { return cmp.Compare(a.Name, b.Name) })
}
