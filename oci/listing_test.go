package oci_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/oci"
)

// A found is one entry with its content, as a model, umoci or oci gives it.
type found struct {
	fstree.Entry
	content string
}

// usual is the mode that a listing does not show.
var usual = map[fstree.Type]uint16{
	fstree.Regular: 0o644, fstree.Directory: 0o755, fstree.Symlink: 0o777, fstree.FIFO: 0o644,
	fstree.CharDevice: 0o600, fstree.BlockDevice: 0o600,
}

var letters = map[fstree.Type]string{
	fstree.Regular: "f", fstree.Directory: "d", fstree.Symlink: "l", fstree.FIFO: "p",
	fstree.CharDevice: "c", fstree.BlockDevice: "b", fstree.Hardlink: "h",
}

// line writes an entry as a table's row expects it: what is usual is left out.
func line(f found) string {
	path := f.Path
	if path == "" {
		path = "."
	}
	s := fmt.Sprintf("%s %s", letters[f.Type], strings.Trim(fmt.Sprintf("%q", path), `"`))
	switch f.Type {
	case fstree.Hardlink:
		return s + " = " + f.Linkname
	case fstree.Symlink:
		s += " -> " + f.Linkname
	case fstree.Regular:
		if len(f.content) > 64 {
			s += fmt.Sprintf(" %d bytes %.6x", len(f.content), sha256.Sum256([]byte(f.content)))
		} else {
			s += " " + f.content
		}
	case fstree.CharDevice, fstree.BlockDevice:
		s += fmt.Sprintf(" %d:%d", f.Major, f.Minor)
	}
	if f.Mode != usual[f.Type] {
		s += fmt.Sprintf(" %04o", f.Mode)
	}
	if f.UID != 0 || f.GID != 0 {
		s += fmt.Sprintf(" %d:%d", f.UID, f.GID)
	}
	if f.ModTime != stamp {
		s += fmt.Sprintf(" @%d", f.ModTime)
	}
	for _, x := range f.Xattrs {
		s += fmt.Sprintf(" %s=%q", x.Name, x.Value)
	}
	return s
}

func regular(path string, size int) fstree.Entry {
	return fstree.Entry{Path: path, Type: fstree.Regular, Mode: 0o644, ModTime: stamp, Size: int64(size)}
}

// lines lists entries; a root that no entry describes is left out.
func lines(all []found) []string {
	var out []string
	for _, f := range all {
		if s := line(f); s != "d . @0" {
			out = append(out, s)
		}
	}
	return out
}

// A collector takes contents and keeps them; a Content is an index in files.
type collector struct {
	t     testing.TB
	files []collected
}

type collected struct{ path, content string }

func (c *collector) File(path string, size int64, r io.Reader) (fstree.Content, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return fstree.NoContent, err
	}
	if int64(len(b)) != size || size == 0 {
		c.t.Errorf("File(%q, %d) with %d bytes", path, size, len(b))
	}
	c.files = append(c.files, collected{path, string(b)})
	return fstree.Content(len(c.files) - 1), nil
}

// read reads an image and lists it with contents, sorted by path.
func read(t testing.TB, img *oci.Image) ([]found, *oci.Plan, error) {
	t.Helper()
	all, p, _, err := readCollected(t, img)
	return all, p, err
}

func readCollected(t testing.TB, img *oci.Image) ([]found, *oci.Plan, []collected, error) {
	t.Helper()
	return readCollectedWith(t, img, oci.ReadOptions{})
}

func readCollectedWith(t testing.TB, img *oci.Image, opt oci.ReadOptions) ([]found, *oci.Plan, []collected, error) {
	t.Helper()
	c := &collector{t: t}
	p, err := oci.ReadWith(context.Background(), img, c, opt)
	if err != nil {
		return nil, nil, c.files, err
	}
	var all []found
	unused, used := p.Unused, map[fstree.Content]bool{}
	for e := range p.Entries() {
		f := found{Entry: e}
		if content := p.Tree.Content(nodeAt(t, p.Tree, e.Path)); e.Type == fstree.Regular && e.Size > 0 {
			f.content = c.files[content].content
			if !used[content] {
				unused += e.Size
			}
			used[content] = true
		}
		if e.Type == fstree.Regular && int64(len(f.content)) != e.Size {
			t.Errorf("content of %q has %d bytes; want %d", e.Path, len(f.content), e.Size)
		}
		all = append(all, f)
	}
	for _, f := range c.files {
		unused -= int64(len(f.content))
	}
	if unused != 0 {
		t.Errorf("Unused = %d is wrong by %d", p.Unused, unused)
	}
	return sorted(t, all), p, c.files, nil
}

func nodeAt(t testing.TB, tree *fstree.Tree, path string) fstree.Node {
	t.Helper()
	n := fstree.Root
	for _, name := range strings.Split(path, "/") {
		if name == "" {
			continue
		}
		if n = tree.Child(n, name); n == fstree.NoNode {
			t.Fatalf("%q is listed, but not in the tree", path)
		}
	}
	return n
}

// sorted checks the order that Entries promises and puts it in that of paths,
// in which the first name of a hardlink may be another one.
func sorted(t testing.TB, all []found) []found {
	t.Helper()
	at := map[string]int{}
	names := map[string][]string{} // by the first one
	for i, f := range all {
		dir := f.Path[:max(strings.LastIndexByte(f.Path, '/'), 0)]
		if _, ok := at[dir]; !ok && i > 0 {
			t.Errorf("Entries gives %q before its directory", f.Path)
		}
		first := f.Path
		if f.Type == fstree.Hardlink {
			first = f.Linkname
			if _, ok := at[first]; !ok {
				t.Errorf("Entries gives %q before its first name %q", f.Path, first)
			}
		}
		if _, ok := at[f.Path]; ok {
			t.Errorf("Entries gives %q twice", f.Path)
		}
		at[f.Path] = i
		names[first] = append(names[first], f.Path)
	}
	for first, same := range names {
		f := all[at[first]]
		slices.Sort(same)
		for i, name := range same {
			g := found{Entry: fstree.Entry{Path: name, Type: fstree.Hardlink, Linkname: same[0]}}
			if i == 0 {
				g = f
				g.Path = name
			}
			all[at[name]] = g
		}
	}
	slices.SortFunc(all, func(a, b found) int { return strings.Compare(a.Path, b.Path) })
	return all
}
