package fstree_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/fstree"
)

func entries(t *fstree.Tree) []fstree.Entry {
	t.Sort()
	return slices.Collect(t.Entries())
}

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
	if tree.Links(file) != 2 || tree.First(file) != tree.Find("a/file") || tree.Path(file) != "b" {
		t.Errorf("b has %d links, the first is %q", tree.Links(file), tree.Path(tree.First(file)))
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

// Random changes against a map from paths to objects.
func TestTreeAgainstMap(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		tree, model := fstree.NewTree(), map[string]int64{} // path to size; -1 is a directory
		sizes := int64(0)
		for range 200 {
			paths := slices.Sorted(maps.Keys(model))
			dirs := []string{""}
			for _, p := range paths {
				if model[p] == -1 {
					dirs = append(dirs, p+"/")
				}
			}
			dir := dirs[rnd.IntN(len(dirs))]
			path := dir + string(rune('a'+rnd.IntN(5)))
			at := tree.Find(strings.TrimSuffix(dir, "/"))
			name := path[len(dir):]
			switch op := rnd.IntN(10); {
			case op < 3:
				forget(model, path)
				model[path] = -1
				mustNode(t)(tree.Mkdir(at, name))
			case op < 7:
				sizes++
				forget(model, path)
				model[path] = sizes
				mustNode(t)(tree.Put(at, name, fstree.Entry{Type: fstree.Regular, Size: sizes}))
			case op < 8 && len(paths) > 0:
				from := paths[rnd.IntN(len(paths))]
				if model[from] == -1 || strings.HasPrefix(from, path+"/") {
					continue
				}
				size := model[from]
				forget(model, path)
				model[path] = size
				mustNode(t)(tree.Link(at, name, tree.Find(from)))
			case tree.Child(at, name) != fstree.NoNode:
				forget(model, path)
				tree.Remove(tree.Child(at, name))
			}
		}
		got := map[string]int64{}
		links := map[int64]int{}
		for _, size := range model {
			links[size]++
		}
		tree.Sort()
		last := ""
		for n := range tree.All() {
			path := tree.Path(n)
			if n == fstree.Root {
				continue
			}
			if dir := path[:max(strings.LastIndexByte(path, '/'), 0)]; strings.HasPrefix(last, dir) && dir == last[:max(strings.LastIndexByte(last, '/'), 0)] && path <= last {
				t.Errorf("seed %d: %q comes after %q", seed, path, last)
			}
			last = path
			got[path] = -1
			if tree.Type(n) == fstree.Regular {
				got[path] = tree.Size(n)
				if tree.Links(n) != links[tree.Size(n)] {
					t.Errorf("seed %d: %q has %d links; want %d", seed, path, tree.Links(n), links[tree.Size(n)])
				}
			}
		}
		if diff := cmp.Diff(model, got); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
	}
}

func forget(model map[string]int64, path string) {
	for p := range model {
		if p == path || strings.HasPrefix(p, path+"/") {
			delete(model, p)
		}
	}
}

func mustNode(t *testing.T) func(fstree.Node, error) {
	return func(_ fstree.Node, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
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
	tree.Sort()
	if n := tree.Find("again"); tree.Size(n) != 7 || tree.Links(n) != 1 || tree.First(n) != n {
		t.Errorf("again: %+v with %d links", tree.Entry(n), tree.Links(n))
	}
}

// A million names take 110 bytes each, and what they are called.
func TestTreeMemory(t *testing.T) {
	const dirs, files = 1000, 1000
	before := heap()
	tree := fstree.NewTree()
	text := 0
	for i := range dirs {
		dir := mkdir(t, tree, fmt.Sprintf("directory-%d", i))
		for j := range files {
			name := fmt.Sprintf("file-%d", j)
			text += len(name)
			if _, err := tree.Put(dir, name, fstree.Entry{Type: fstree.Regular, Size: int64(j)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	tree.Sort()
	used := heap() - before - int64(text)
	if each := used / (dirs * files); each > 110 {
		t.Errorf("%d bytes for each name; want at most 110", each)
	}
	if got, want := tree.Bytes(), used+int64(text); got < want*9/10 || got > want*11/10 {
		t.Errorf("Bytes() = %d; the heap grew by %d", got, want)
	}
	runtime.KeepAlive(tree)
}

func mkdir(t *testing.T, tree *fstree.Tree, name string) fstree.Node {
	t.Helper()
	dir, err := tree.Mkdir(fstree.Root, name)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
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
