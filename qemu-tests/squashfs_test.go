package qemutests

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/internal/vm"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

// TestSquashfs is the kernel's word on our images: a tree with everything in
// it that can go wrong, in several encodings, mounted and compared object by
// object.
func TestSquashfs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		opt  squashfs.Options
		tree squashfstest.TreeOptions
	}{
		{"zstd 128K, a file over 4 GiB", squashfs.Options{}, squashfstest.TreeOptions{BigFile: 5 << 30}},
		{"gzip 128K, a large directory", squashfs.Options{Compression: squashfs.Gzip, BlockSize: 128 << 10}, squashfstest.TreeOptions{BigDir: 2000}},
		{"no compression, 4K", squashfs.Options{Compression: squashfs.None, BlockSize: 4 << 10}, squashfstest.TreeOptions{}},
		{"zstd 1M, compact", squashfs.Options{BlockSize: 1 << 20, Layout: squashfs.Compact}, squashfstest.TreeOptions{}},
	}
	f := fixture(t)
	cfg := vm.Config{Kernel: f.kernel.Image, Initrd: guestInitramfs(t, f), Append: quick, MemoryMiB: 768}
	var want []string
	for i, tt := range tests {
		image := filepath.Join(t.TempDir(), "image")
		tree := squashfstest.Tree(uint64(i+1), tt.tree)
		writeSquashfs(t, image, tree, tt.opt)
		want = append(want, squashfstest.Expected(tree...))
		cfg.Disks = append(cfg.Disks, vm.Disk{Path: image, ReadOnly: true})
	}
	g := start(t, cfg)
	g.waitBoot()
	for i, tt := range tests {
		dev, dir := fmt.Sprintf("/dev/vd%c", 'a'+i), fmt.Sprintf("/mnt/%d", i)
		g.run("/init", "mount", dev, dir, "squashfs")
		sum := strings.TrimSpace(g.run("/init", "sum", dir))
		if sum == fmt.Sprintf("%x", sha256.Sum256([]byte(want[i]))) {
			continue
		}
		if diff := cmp.Diff(strings.Split(want[i], "\n"), strings.Split(g.run("/init", "list", dir), "\n")); diff != "" {
			t.Errorf("%s: the kernel's view mismatch (-want +got):\n%s", tt.name, diff)
		} else {
			t.Errorf("%s: digests of the listing differ, the listings do not", tt.name)
		}
	}
}

// TestSquashfsHugeDirectory has the kernel read a directory of 100,000 and
// look names up through its index.
func TestSquashfsHugeDirectory(t *testing.T) {
	t.Parallel()
	const step = 101 // as in the guest
	var tree []squashfstest.File
	var names []string
	for _, e := range squashfstest.Tree(7, squashfstest.TreeOptions{BigDir: 100_000}) {
		if name, ok := strings.CutPrefix(e.Path, "big/"); ok {
			tree, names = append(tree, e), append(names, name)
		}
	}
	slices.SortFunc(tree, func(a, b squashfstest.File) int { return strings.Compare(a.Path, b.Path) })
	slices.Sort(names)
	h := sha256.New()
	for i, name := range names {
		fmt.Fprintln(h, name)
		if i%step == 0 {
			fmt.Fprintln(h, tree[i].Type == fstree.Directory, tree[i].UID)
		}
	}
	f := fixture(t)
	image := filepath.Join(t.TempDir(), "image")
	writeSquashfs(t, image, tree, squashfs.Options{})
	g := start(t, vm.Config{Kernel: f.kernel.Image, Initrd: guestInitramfs(t, f), Append: quick,
		Disks: []vm.Disk{{Path: image, ReadOnly: true}}})
	g.waitBoot()
	g.run("/init", "mount", "/dev/vda", "/mnt", "squashfs")
	got := strings.TrimSpace(g.run("/init", "names", "/mnt/big"))
	if want := fmt.Sprintf("%d %x", len(names), h.Sum(nil)); got != want {
		t.Errorf("the kernel sees names %s; want %s", got, want)
	}
}

// fileSink is a squashfs.Sink into a file.
type fileSink struct {
	f   *os.File
	off int64
}

func (s *fileSink) Write(p []byte) (int, error) {
	n, err := s.f.WriteAt(p, s.off)
	s.off += int64(n)
	return n, err
}

func (s *fileSink) WriteFirst(block []byte) error {
	_, err := s.f.WriteAt(block, 0)
	return err
}

func writeSquashfs(t *testing.T, file string, tree []squashfstest.File, opt squashfs.Options) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := squashfs.NewWriter(&fileSink{f, 4096}, opt)
	if err != nil {
		t.Fatal(err)
	}
	names := fstree.NewTree()
	for _, links := range []bool{false, true} { // links after what they link to
		for _, e := range tree {
			if (e.Type == fstree.Hardlink) != links {
				continue
			}
			n, err := names.Add(e.Entry)
			if err != nil {
				t.Fatal(err)
			}
			if e.Type != fstree.Regular {
				continue
			}
			content, err := w.File(e.Path, e.Size, e.Content.Reader())
			if err != nil {
				t.Fatal(err)
			}
			names.SetContent(n, content)
		}
	}
	if _, err := w.Close(names); err != nil {
		t.Fatal(err)
	}
}
