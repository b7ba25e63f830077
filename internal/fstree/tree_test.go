package fstree_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/fstree"
)

func entries(t *fstree.Tree) []fstree.Entry { return slices.Collect(t.Entries()) }

// Everything that an entry can say comes out of the tree again.
func TestTreeKeepsEntries(t *testing.T) {
	want := []fstree.Entry{
		{Type: fstree.Directory, Mode: 0o1777, UID: 1, GID: 2, ModTime: -5},
		{Path: "a", Type: fstree.Directory, Mode: 0o755},
		{Path: "a/block", Type: fstree.BlockDevice, Major: 4095, Minor: 1 << 19, Mode: 0o660},
		{Path: "a/char", Type: fstree.CharDevice, Major: 1, Minor: 3, Mode: 0o666},
		{Path: "a/file", Type: fstree.Regular, Mode: 0o4755, UID: 1 << 31, GID: 1<<32 - 1, ModTime: 1 << 40, Size: 1 << 50,
			Xattrs: []fstree.Xattr{{Name: "security.capability", Value: []byte{1, 0, 2}}, {Name: "user.empty", Value: []byte{}}}},
		{Path: "a/link", Type: fstree.Symlink, Mode: 0o777, Linkname: strings.Repeat("x", 4095)},
		{Path: "b", Type: fstree.Hardlink, Linkname: "a/file"},
		{Path: "b-fifo", Type: fstree.FIFO, Mode: 0o600},
		{Path: "c", Type: fstree.Directory, Mode: 0o755},
		{Path: "c/" + strings.Repeat("n", 255), Type: fstree.Socket},
	}
	tree := fstree.NewTree()
	for _, e := range slices.Backward(want) { // directories after what they hold
		if e.Type != fstree.Hardlink {
			if _, err := tree.Add(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := tree.Add(want[6]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, entries(tree)); diff != "" {
		t.Errorf("Entries() (-want +got):\n%s", diff)
	}
	file := tree.Find("b")
	if tree.Links(file) != 2 || tree.Object(file) != tree.Object(tree.Find("a/file")) || tree.Path(file) != "b" {
		t.Errorf("%q has %d links; want b to have 2", tree.Path(file), tree.Links(file))
	}
}

func TestAddRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		add  []fstree.Entry
		want string // part of the last one's error
	}{
		{"twice", []fstree.Entry{{Path: "f", Type: fstree.FIFO}, {Path: "f", Type: fstree.FIFO}}, "added before"},
		{"root twice", []fstree.Entry{{Type: fstree.Directory}, {Type: fstree.Directory}}, "added before"},
		{"root as file", []fstree.Entry{{Type: fstree.Regular}}, "where a directory with entries is"},
		{"file over implicit directory", []fstree.Entry{{Path: "d/f", Type: fstree.FIFO}, {Path: "d", Type: fstree.FIFO}}, "where a directory with entries is"},
		{"below a file", []fstree.Entry{{Path: "f", Type: fstree.FIFO}, {Path: "f/g", Type: fstree.FIFO}}, "not a directory"},
		{"hardlink to nothing", []fstree.Entry{{Path: "l", Type: fstree.Hardlink, Linkname: "f"}}, `no entry "f"`},
		{"hardlink to a directory", []fstree.Entry{{Path: "d", Type: fstree.Directory}, {Path: "l", Type: fstree.Hardlink, Linkname: "d"}}, "is a directory"},
		{"dot", []fstree.Entry{{Path: "d/.", Type: fstree.FIFO}}, "no name"},
		{"dot dot", []fstree.Entry{{Path: "../d", Type: fstree.FIFO}}, "no name"},
		{"slashes", []fstree.Entry{{Path: "d//f", Type: fstree.FIFO}}, "no name"},
		{"zero byte", []fstree.Entry{{Path: "a\x00b", Type: fstree.FIFO}}, "zero byte"},
		{"no type", []fstree.Entry{{Path: "l"}}, "unknown"},
		{"unsorted attributes", []fstree.Entry{{Path: "l", Type: fstree.FIFO, Xattrs: []fstree.Xattr{{Name: "user.b"}, {Name: "user.a"}}}}, "not sorted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := fstree.NewTree()
			var err error
			for i, e := range tt.add {
				if _, err = tree.Add(e); err != nil && i < len(tt.add)-1 {
					t.Fatal(err)
				}
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Add(%q) = %v; want an error with %q", tt.add[len(tt.add)-1].Path, err, tt.want)
			}
		})
	}
}

// What was removed can still be read and linked to.
func TestRemoved(t *testing.T) {
	tree := fstree.NewTree()
	for _, path := range []string{"d/e/f", "d/g"} {
		if _, err := tree.Add(fstree.Entry{Path: path, Type: fstree.Regular, Size: 7}); err != nil {
			t.Fatal(err)
		}
	}
	d := tree.Find("d")
	tree.Remove(d)
	tree.Remove(d)
	if tree.Find("d") != fstree.NoNode {
		t.Error("d is still there")
	}
	f := tree.Child(tree.Child(d, "e"), "f")
	if f == fstree.NoNode {
		t.Fatal("what was in d cannot be found from d")
	}
	if _, err := tree.Link(fstree.Root, "again", f); err != nil {
		t.Fatal(err)
	}
	if n := tree.Find("again"); tree.Size(n) != 7 || tree.Links(n) != 1 {
		t.Errorf("again: %+v with %d links", tree.Entry(n), tree.Links(n))
	}
}

// One directory of 200,000 names, each replaced once.
func TestLargeDirectory(t *testing.T) {
	const n = 200_000
	tree := fstree.NewTree()
	for round := range int64(2) {
		for i := range n {
			if _, err := tree.Put(fstree.Root, fmt.Sprint(i), fstree.Entry{Type: fstree.Regular, Size: round}); err != nil {
				t.Fatal(err)
			}
		}
	}
	tree.Sort()
	count, last := 0, ""
	for c := range tree.Children(fstree.Root) {
		name := tree.Name(c)
		if name <= last || tree.Size(c) != 1 {
			t.Fatalf("%q of size %d comes after %q", name, tree.Size(c), last)
		}
		count, last = count+1, name
	}
	if count != n {
		t.Errorf("%d names; want %d", count, n)
	}
}

// TestReplaceLinked takes a name of an object away and gives its other name a
// new object, while the first is still asked for.
func TestReplaceLinked(t *testing.T) {
	tree := fstree.NewTree()
	old := mustNode(t)(tree.Add(fstree.Entry{Path: "a", Type: fstree.Regular, Size: 1}))
	gone := mustNode(t)(tree.Link(fstree.Root, "b", old))
	tree.Remove(gone)
	mustNode(t)(tree.Put(fstree.Root, "a", fstree.Entry{Type: fstree.Regular, Size: 2}))
	again := mustNode(t)(tree.Link(fstree.Root, "c", gone))
	if tree.Size(again) != 1 || tree.Links(again) != 1 || tree.Size(tree.Find("a")) != 2 {
		t.Errorf("c has size %d and %d links, a size %d; want 1, 1 and 2", tree.Size(again), tree.Links(again), tree.Size(tree.Find("a")))
	}
}

// TestLinkInPlace makes names for objects that the names have already.
func TestLinkInPlace(t *testing.T) {
	tree := fstree.NewTree()
	a := mustNode(t)(tree.Add(fstree.Entry{Path: "a", Type: fstree.Regular, Size: 1}))
	if again := mustNode(t)(tree.Link(fstree.Root, "a", a)); again != a || tree.Links(a) != 1 || tree.Len() != 2 {
		t.Errorf("a linked to itself is node %d with %d links in a tree of %d", again, tree.Links(a), tree.Len())
	}
	d := mustNode(t)(tree.Mkdir(fstree.Root, "d"))
	inside := mustNode(t)(tree.Link(d, "inside", a))
	over := mustNode(t)(tree.Link(fstree.Root, "d", inside)) // in place of the directory that it is in
	if tree.Links(a) != 2 || tree.Type(over) != fstree.Regular || tree.Len() != 3 {
		t.Errorf("%d links, d is a %v in a tree of %d", tree.Links(a), tree.Type(over), tree.Len())
	}
	if _, err := tree.Link(fstree.Root, "e", d); err == nil {
		t.Error("a hard link to a directory")
	}
	if _, err := tree.Put(d, "f", fstree.Entry{Type: fstree.FIFO}); err == nil {
		t.Error("Put into a directory that was removed")
	}
}

// TestSetMeta describes a directory anew; what it holds stays.
func TestSetMeta(t *testing.T) {
	tree := fstree.NewTree()
	f := mustNode(t)(tree.Add(fstree.Entry{Path: "d/f", Type: fstree.FIFO}))
	want := fstree.Entry{Path: "d", Type: fstree.Directory, Mode: 0o2750, UID: 3, GID: 4, ModTime: 5, Xattrs: []fstree.Xattr{{Name: "user.x", Value: []byte("y")}}}
	d := tree.Parent(f)
	if err := tree.SetMeta(d, want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, tree.Entry(d)); diff != "" {
		t.Errorf("Entry() after SetMeta (-want +got):\n%s", diff)
	}
	if tree.Child(d, "f") != f {
		t.Error("what was in the directory is gone")
	}
	if _, err := tree.Add(want); err == nil {
		t.Error("a directory that has been described was added")
	}
}

// TestContentOfObject is the same through each name.
func TestContentOfObject(t *testing.T) {
	tree := fstree.NewTree()
	a := mustNode(t)(tree.Add(fstree.Entry{Path: "a", Type: fstree.Regular, Size: 1}))
	b := mustNode(t)(tree.Link(fstree.Root, "b", a))
	if got := tree.Content(a); got != fstree.NoContent {
		t.Errorf("Content() = %d at first; want NoContent", got)
	}
	tree.SetContent(b, 7)
	if tree.Content(a) != 7 || tree.Content(b) != 7 {
		t.Errorf("Content() = %d and %d; want 7", tree.Content(a), tree.Content(b))
	}
	a = mustNode(t)(tree.Put(fstree.Root, "a", fstree.Entry{Type: fstree.Regular, Size: 1}))
	if tree.Content(a) != fstree.NoContent || tree.Content(b) != 7 {
		t.Errorf("Content() = %d and %d after a was replaced; want NoContent and 7", tree.Content(a), tree.Content(b))
	}
}

// TestXattrSets are numbered, each once.
func TestXattrSets(t *testing.T) {
	set := func(value string) []fstree.Xattr {
		return []fstree.Xattr{{Name: "security.a", Value: []byte{}}, {Name: "user.b", Value: []byte(value)}}
	}
	tree := fstree.NewTree()
	long := strings.Repeat("v", 64<<10)
	for i, value := range []string{"1", long, "1", long, "2", ""} {
		n := mustNode(t)(tree.Add(fstree.Entry{Path: fmt.Sprint(i), Type: fstree.FIFO, Xattrs: set(value)}))
		if diff := cmp.Diff(set(value), tree.Entry(n).Xattrs); diff != "" {
			t.Errorf("attributes of %d (-want +got):\n%s", i, diff)
		}
		if got, want := tree.XattrSet(n), []uint32{0, 1, 0, 1, 2, 3}[i]; got != want {
			t.Errorf("XattrSet(%d) = %d; want %d", i, got, want)
		}
	}
	if got := tree.XattrSets(); got != 4 {
		t.Errorf("XattrSets() = %d; want 4", got)
	}
	if got := tree.XattrSet(fstree.Root); got != fstree.NoXattrs {
		t.Errorf("XattrSet of the root = %d; want NoXattrs", got)
	}
}

func mustNode(t *testing.T) func(fstree.Node, error) fstree.Node {
	return func(n fstree.Node, err error) fstree.Node {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
}
