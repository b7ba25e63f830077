package fstree_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
)

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMemory holds the tree to what its comment says of each entry, and Bytes
// to the truth.
func TestMemory(t *testing.T) {
	for _, tt := range []struct {
		name  string
		entry func(dir, i int) (name string, e fstree.Entry)
		text  int // bytes of names and targets in each entry
		limit int64
	}{
		{"files", func(_, i int) (string, fstree.Entry) {
			return fmt.Sprintf("a-file-%03d", i), fstree.Entry{Type: fstree.Regular, Size: int64(i), ModTime: 1e9, UID: 1, Mode: 0o644}
		}, 10, 80},
		{"names of 255 bytes", func(_, i int) (string, fstree.Entry) {
			return strings.Repeat("n", 252) + fmt.Sprintf("%03d", i), fstree.Entry{Type: fstree.Regular}
		}, 255, 82},
		{"symlinks", func(dir, i int) (string, fstree.Entry) {
			return fmt.Sprintf("%03d", i), fstree.Entry{Type: fstree.Symlink, Linkname: fmt.Sprintf("target-%03d-%03d", dir, i)}
		}, 3 + 14, 80},
		{"attributes of 64 sets", func(_, i int) (string, fstree.Entry) {
			return fmt.Sprintf("%03d", i), fstree.Entry{Type: fstree.FIFO, Xattrs: []fstree.Xattr{{Name: "security.selinux", Value: []byte{byte(i % 64)}}}}
		}, 3, 80},
		{"different attributes", func(dir, i int) (string, fstree.Entry) {
			return fmt.Sprintf("%03d", i), fstree.Entry{Type: fstree.FIFO, Xattrs: []fstree.Xattr{{Name: "security.ima", Value: fmt.Appendf(nil, "%03d %03d", dir, i)}}}
		}, 3 + 1 + 12 + 1 + 7, 110},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const dirs, files = 200, 1000
			base := heap()
			tree := fstree.NewTree()
			for dir := range dirs {
				d := mustNode(t)(tree.Mkdir(fstree.Root, fmt.Sprint(dir)))
				for i := range files {
					name, e := tt.entry(dir, i)
					mustNode(t)(tree.Put(d, name, e))
				}
			}
			tree.Sort()
			used := heap() - base
			each := (used - int64(tt.text)*dirs*files) / (dirs * files)
			t.Logf("%d bytes an entry besides %d of text", each, tt.text)
			if each > tt.limit {
				t.Errorf("an entry takes %d bytes besides %d of text; want at most %d", each, tt.text, tt.limit)
			}
			if got := tree.Bytes(); got < used*95/100 || got > used*105/100 {
				t.Errorf("Bytes() = %d; the heap grew by %d", got, used)
			}
			runtime.KeepAlive(tree)
		})
	}
}

// TestMillion has a million entries in memory that a small device can spare.
func TestMillion(t *testing.T) {
	const count, name, limit = 1_000_000, 30, 110
	base := heap()
	tree := fstree.NewTree()
	var d fstree.Node
	for i := range count {
		if i%1000 == 0 {
			d = mustNode(t)(tree.Mkdir(fstree.Root, fmt.Sprintf("directory-%d", i)))
		}
		mustNode(t)(tree.Put(d, fmt.Sprintf("a-name-of-30-bytes-%011d", i), fstree.Entry{Type: fstree.Regular, Size: 3}))
	}
	tree.Sort()
	each := (heap()-base)/count - name
	t.Logf("%d bytes an entry besides its name", each)
	if each > limit {
		t.Errorf("an entry takes %d bytes besides its name; want at most %d", each, limit)
	}
	runtime.KeepAlive(tree)
}

// TestReplacedTakesNothing has the same files in layer after layer.
func TestReplacedTakesNothing(t *testing.T) {
	const files, layers = 20_000, 20
	tree := fstree.NewTree()
	var once int64
	for layer := range layers {
		for i := range files {
			mustNode(t)(tree.Put(fstree.Root, fmt.Sprint(i), fstree.Entry{Type: fstree.Regular, ModTime: int64(layer)}))
		}
		if layer == 0 {
			once = tree.Bytes()
		}
	}
	if got := tree.Bytes(); got != once || tree.Len() != files+1 {
		t.Errorf("%d names take %d bytes after %d layers, %d after one", tree.Len(), got, layers, once)
	}
}
