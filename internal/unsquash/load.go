package unsquash

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

const (
	maxNames = 8 << 20
	maxPath  = 4096 // with the final zero, as for the kernel
	maxName  = 256
)

// A loader fills in an Image.
type loader struct {
	im      *Image
	meta    *metadata
	ids     []uint32
	xattrs  xattrs
	visited map[uint32]bool // directories, by inode number
}

// tables reads what is needed to read inodes and contents.
func (l *loader) tables() error {
	sb := l.im.sb
	ids, err := l.meta.lookup("owners", sb.idTable, int(sb.ids), 4)
	if err != nil {
		return err
	}
	for f := (fields{ids}); len(f.b) > 0; {
		l.ids = append(l.ids, f.u32())
	}
	fragments, err := l.meta.lookup("fragments", sb.fragmentTable, int(sb.fragments), 16)
	if err != nil {
		return err
	}
	for f := (fields{fragments}); len(f.b) > 0; f.u32() {
		l.im.fragments = append(l.im.fragments, fragment{int64(f.u64()), f.u32()})
	}
	return nil
}

func (l *loader) load() error {
	if err := l.tables(); err != nil {
		return err
	}
	if err := l.openXattrs(); err != nil {
		return err
	}
	root, err := l.inode(l.im.sb.rootInode)
	if err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if root.Type != fstree.Directory {
		return fmt.Errorf("the root is a %v: %w", root.Type, ErrCorrupt)
	}
	l.visited = make(map[uint32]bool)
	if err := l.add(root, ""); err != nil {
		return err
	}
	slices.SortFunc(l.im.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	l.link()
	return nil
}

// add takes an object under its path, and a directory with all that is in it.
func (l *loader) add(n inode, path string) error {
	if len(l.im.Files) == maxNames || len(path) >= maxPath {
		return fmt.Errorf("more than %d names, or a path of more than %d bytes: %w", maxNames, maxPath-1, ErrCorrupt)
	}
	n.Path = path
	l.im.Files = append(l.im.Files, n.File)
	if n.Type != fstree.Directory {
		return nil
	}
	if l.visited[n.inode] {
		return fmt.Errorf("/%s: directory in two places: %w", path, ErrCorrupt)
	}
	l.visited[n.inode] = true
	err := l.list(n.listing, n.listSize, func(ref uint64, name string) error { return l.child(ref, path, name) })
	if err != nil {
		return fmt.Errorf("/%s: %w", path, err)
	}
	return nil
}

// list reads a directory of size bytes: runs of entries under headers. Names
// come in their order.
//
//	header: count - 1, inode block, inode number uint32
//	entry:  offset in the inode block uint16, inode number - header's int16, type, name length - 1 uint16, name
func (l *loader) list(c cursor, size int, visit func(ref uint64, name string) error) error {
	last := ""
	for left := size; left > 0; {
		b, err := c.read(12)
		if err != nil {
			return err
		}
		f := fields{b}
		count, block := int64(f.u32())+1, uint64(f.u32())
		left -= 12
		for ; count > 0; count-- {
			if b, err = c.read(8); err != nil {
				return err
			}
			ref := block<<16 | uint64(le.Uint16(b))
			length := int(le.Uint16(b[6:])) + 1
			if left -= 8 + length; left < 0 || length > maxName {
				return fmt.Errorf("listing of %d bytes: %w", size, ErrCorrupt)
			}
			if b, err = c.read(length); err != nil {
				return err
			}
			name := string(b)
			if name <= last || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
				return fmt.Errorf("name %q after %q: %w", name, last, ErrCorrupt)
			}
			last = name
			if err := visit(ref, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *loader) child(ref uint64, path, name string) error {
	if path != "" {
		name = path + "/" + name
	}
	n, err := l.inode(ref)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return l.add(n, name)
}

// link makes hardlinks of further names.
func (l *loader) link() {
	files := l.im.Files
	var shared []int
	for i := range files {
		if files[i].nlink > 1 && files[i].Type != fstree.Directory {
			shared = append(shared, i)
		}
	}
	slices.SortFunc(shared, func(a, b int) int { return cmp.Or(cmp.Compare(files[a].inode, files[b].inode), cmp.Compare(a, b)) })
	first := -1
	for _, i := range shared {
		if first < 0 || files[first].inode != files[i].inode {
			first = i
			continue
		}
		files[i] = File{Entry: fstree.Entry{Path: files[i].Path, Type: fstree.Hardlink, Linkname: files[first].Path}}
	}
}
