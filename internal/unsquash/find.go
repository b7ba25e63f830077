package unsquash

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// A Finder opens files by their paths, without a list of all that is in the
// image. It holds three blocks, two MiB of metadata, and the names in the
// directories that lead to the last path. It is for one goroutine.
type Finder struct {
	l    *loader
	r    *Reader
	dirs []listing // from the root on; each is in the one before
}

// A listing is a directory.
type listing struct {
	name    string
	entries []listed // sorted
}

type listed struct {
	name string
	ref  uint64 // of its inode
}

const finderBlocks = 256 // of metadata

// NewFinder returns a Finder for the image that r holds in its first size
// bytes.
func NewFinder(r io.ReaderAt, size int64) (*Finder, error) {
	l, err := open(r, size)
	if err != nil {
		return nil, err
	}
	l.meta.keep = finderBlocks
	if err := l.tables(); err != nil {
		return nil, fmt.Errorf("reading the squashfs: %w", err)
	}
	f := &Finder{l: l}
	if f.r, err = l.im.NewReader(); err != nil {
		return nil, err
	}
	root, err := f.list("", l.im.sb.rootInode)
	if err != nil {
		return nil, fmt.Errorf("reading the squashfs: %w", err)
	}
	f.dirs = []listing{root}
	return f, nil
}

// Open returns the content of the regular file at path, of which no part may
// be a symlink, and its size. The reader is good until the next Open.
func (f *Finder) Open(path string) (io.Reader, int64, error) {
	n, err := f.find(path)
	if err == nil && n.Type != fstree.Regular {
		err = fmt.Errorf("it is a %v", n.Type)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("opening /%s of the squashfs: %w", path, err)
	}
	n.Path = path
	return &content{r: f.r, f: &n.File, pos: n.data.start, left: n.Size}, n.Size, nil
}

func (f *Finder) find(path string) (inode, error) {
	f.l.meta.taken = 0 // nothing of it is kept but dirs
	names := strings.Split(path, "/")
	last := len(names) - 1
	for depth, name := range names[:last] {
		if depth+1 < len(f.dirs) && f.dirs[depth+1].name == name {
			continue
		}
		f.dirs = f.dirs[:depth+1]
		ref, err := f.dirs[depth].find(name)
		if err != nil {
			return inode{}, err
		}
		dir, err := f.list(name, ref)
		if err != nil {
			return inode{}, err
		}
		f.dirs = append(f.dirs, dir)
	}
	ref, err := f.dirs[last].find(names[last])
	if err != nil {
		return inode{}, err
	}
	return f.l.bareInode(ref)
}

// list reads a directory.
func (f *Finder) list(name string, ref uint64) (listing, error) {
	dir := listing{name: name}
	n, err := f.l.bareInode(ref)
	if err != nil {
		return dir, err
	}
	if n.Type != fstree.Directory {
		return dir, fmt.Errorf("%q is a %v, not a directory", name, n.Type)
	}
	err = f.l.list(n.listing, n.listSize, func(ref uint64, name string) error {
		dir.entries = append(dir.entries, listed{name, ref})
		return nil
	})
	return dir, err
}

func (l *listing) find(name string) (ref uint64, err error) {
	i, ok := slices.BinarySearchFunc(l.entries, name, func(e listed, name string) int { return cmp.Compare(e.name, name) })
	if !ok {
		return 0, fmt.Errorf("there is no %q in %q", name, l.name)
	}
	return l.entries[i].ref, nil
}
