package fstree_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/fstree"
)

// A model is a tree as a map from each path to a file's size, which no other
// object has, or to isDir.
type model map[string]int64

const isDir = -1

func (m model) remove(path string) {
	maps.DeleteFunc(m, func(p string, _ int64) bool { return p == path || strings.HasPrefix(p, path+"/") })
}

// entries are what a tree like m has in Entries.
func (m model) entries() []fstree.Entry {
	list := []fstree.Entry{{Type: fstree.Directory, Mode: 0o755}}
	first := map[int64]string{}
	paths := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
	})
	for _, path := range paths {
		switch at, linked := first[m[path]]; {
		case m[path] == isDir:
			list = append(list, fstree.Entry{Path: path, Type: fstree.Directory, Mode: 0o755})
		case linked:
			list = append(list, fstree.Entry{Path: path, Type: fstree.Hardlink, Linkname: at})
		default:
			list = append(list, fstree.Entry{Path: path, Type: fstree.Regular, Size: m[path]})
			first[m[path]] = path
		}
	}
	return list
}

// change does one thing to both.
func change(t *testing.T, rng *rand.Rand, tree *fstree.Tree, m model, size int64) {
	paths := slices.Sorted(maps.Keys(m))
	dirs := []string{""}
	for _, p := range paths {
		if m[p] == isDir {
			dirs = append(dirs, p+"/")
		}
	}
	dir, name := dirs[rng.IntN(len(dirs))], string(rune('a'+rng.IntN(5)))
	path, at := dir+name, tree.Find(strings.TrimSuffix(dir, "/"))
	switch op := rng.IntN(10); {
	case op < 3:
		m.remove(path)
		m[path] = isDir
		mustNode(t)(tree.Mkdir(at, name))
	case op < 7:
		m.remove(path)
		m[path] = size
		mustNode(t)(tree.Put(at, name, fstree.Entry{Type: fstree.Regular, Size: size}))
	case op < 8 && len(paths) > 0:
		from := paths[rng.IntN(len(paths))]
		target := m[from]
		if target == isDir {
			return
		}
		mustNode(t)(tree.Link(at, name, tree.Find(from)))
		m.remove(path)
		m[path] = target
	case tree.Child(at, name) != fstree.NoNode:
		m.remove(path)
		tree.Remove(tree.Child(at, name))
	}
	if rng.IntN(20) == 0 {
		tree.Sort()
	}
}

// TestAgainstModel compares trees after random changes with what a map says.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		tree, m := fstree.NewTree(), model{}
		for i := range int64(200) {
			change(t, rng, tree, m, i)
		}
		if diff := cmp.Diff(m.entries(), entries(tree)); diff != "" {
			t.Fatalf("seed %d: Entries() (-want +got):\n%s", seed, diff)
		}
		links := map[int64]int{}
		for _, size := range m {
			links[size]++
		}
		for path, size := range m {
			n := tree.Find(path)
			if got := tree.Links(n); size != isDir && got != links[size] {
				t.Errorf("seed %d: Links(%q) = %d; want %d", seed, path, got, links[size])
			}
			if tree.Object(n) >= tree.Objects() {
				t.Errorf("seed %d: Object(%q) = %d of %d", seed, path, tree.Object(n), tree.Objects())
			}
		}
		if tree.Len() != len(m)+1 {
			t.Errorf("seed %d: Len() = %d; want %d", seed, tree.Len(), len(m)+1)
		}
	}
}
