package squashfs

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/fstree"
)

// TestOrderOfTables holds the inodes and directories to the order in which
// somebody walks the tree: with another one, find takes a third longer.
func TestOrderOfTables(t *testing.T) {
	tree := fstree.NewTree()
	for _, path := range []string{"b", "a/y/3", "a/x/1", "a/x/2", "a/z", "c/x"} {
		if _, err := tree.Add(fstree.Entry{Path: path, Type: fstree.Directory, Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	tree.Sort()
	k := &closing{Writer: &Writer{}, tree: tree, inodeOf: make([]uint32, tree.Objects())}
	dirs := k.number()
	var got []string
	for i := dirs.Len(); i > 0; i-- {
		got = append(got, tree.Path(*dirs.At(i - 1)))
	}
	want := []string{"a/x/1", "a/x/2", "a/x", "a/y/3", "a/y", "a/z", "a", "b", "c/x", "c", ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("directories are written in another order (-want +got):\n%s", diff)
	}
	for n := range tree.Children(tree.Child(fstree.Root, "a")) {
		if d := k.inodeOf[tree.Object(n)] - k.inodeOf[tree.Object(tree.Child(fstree.Root, "a"))]; d > 10 {
			t.Errorf("%s has an inode number %d above its folder's", tree.Path(n), d)
		}
	}
}
