package squashfstest

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/fstree"
)

// List returns the listing of the directory root, usually where an image is
// mounted: a line for every object with all that a squashfs keeps of it. It
// works without privileges; what it may not read then (a content, attributes
// in trusted) is missing, so that a comparison fails rather than passes.
func List(root string) (string, error) {
	l := lister{root: root}
	if err := l.walk(""); err != nil {
		return "", fmt.Errorf("listing %s: %w", root, err)
	}
	return format(l.records, l.inodes), nil
}

type lister struct {
	root    string
	records []record
	inodes  []uint64
}

func (l *lister) walk(rel string) error {
	full := l.root
	if rel != "" {
		full += "/" + rel
	}
	var st unix.Stat_t
	if err := unix.Lstat(full, &st); err != nil {
		return fmt.Errorf("reading %q: %w", rel, err)
	}
	r := record{path: rel, mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid, mtime: int64(st.Mtim.Sec), nlink: uint64(st.Nlink)}
	var err error
	if r.xattrs, err = readXattrs(full); err != nil {
		return fmt.Errorf("reading attributes of %q: %w", rel, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		r.typ, r.size = fstree.Regular, st.Size
		r.sum = fileSum(full, st.Size)
	case unix.S_IFDIR:
		r.typ = fstree.Directory
	case unix.S_IFLNK:
		r.typ = fstree.Symlink
		if r.target, err = os.Readlink(full); err != nil {
			return err
		}
		if st.Size != int64(len(r.target)) {
			return fmt.Errorf("reading %q: symlink of %d bytes has size %d", rel, len(r.target), st.Size)
		}
	case unix.S_IFCHR:
		r.typ, r.major, r.minor = fstree.CharDevice, unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
	case unix.S_IFBLK:
		r.typ, r.major, r.minor = fstree.BlockDevice, unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
	case unix.S_IFIFO:
		r.typ = fstree.FIFO
	case unix.S_IFSOCK:
		r.typ = fstree.Socket
	}
	l.records = append(l.records, r)
	l.inodes = append(l.inodes, st.Ino)
	if r.typ != fstree.Directory {
		return nil
	}
	return l.walkDir(rel, full)
}

// walkDir visits the entries of a directory, and looks each name up, which
// goes another way through a squashfs than reading the directory does.
func (l *lister) walkDir(rel, full string) error {
	names, err := os.ReadDir(full)
	if err != nil {
		return fmt.Errorf("reading %q: %w", rel, err)
	}
	for _, name := range names {
		if err := l.walk(path.Join(rel, name.Name())); err != nil {
			return err
		}
	}
	return nil
}

func fileSum(full string, size int64) string {
	f, err := os.Open(full)
	if err != nil {
		return "unreadable"
	}
	defer f.Close()
	s, err := sum(f, size)
	if err != nil {
		return strings.ReplaceAll(err.Error(), " ", "-")
	}
	return s
}

func readXattrs(full string) ([]fstree.Xattr, error) {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(full, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var xattrs []fstree.Xattr
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(full, name, value)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		xattrs = append(xattrs, fstree.Xattr{Name: name, Value: value[:n]})
	}
	fstree.SortXattrs(xattrs)
	return xattrs, nil
}
