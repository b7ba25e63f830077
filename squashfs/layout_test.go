package squashfs_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

// TestSameBytes builds the same tree with different numbers of workers.
func TestSameBytes(t *testing.T) {
	for _, opt := range []squashfs.Options{
		{Level: 1}, {}, {Level: 7}, {Level: 12, BlockSize: 128 << 10}, {BlockSize: 4096}, {BlockSize: 1 << 20, Level: 3},
		{Compression: squashfs.Gzip}, {Compression: squashfs.None, Layout: squashfs.Compact},
	} {
		files := usr(120, nil)
		if opt == (squashfs.Options{}) {
			files = usr(600, nil)
		}
		opt.Workers = 1
		want, _ := build(t, files, opt)
		for _, workers := range []int{0, 8} {
			opt.Workers = workers
			if got, _ := build(t, files, opt); !bytes.Equal(got, want) {
				t.Errorf("%s: the image of %d workers differs from that of one", opt.Encoder(), workers)
			}
		}
	}
}

// TestTreeInAnyOrder makes the same tree in two orders, with detours: the image
// depends on what the tree holds.
func TestTreeInAnyOrder(t *testing.T) {
	files := squashfstest.Tree(8, squashfstest.TreeOptions{})
	want, _ := build(t, files, squashfs.Options{})

	var sink memory
	w, err := newCreator(&sink, squashfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	contents := map[string]fstree.Content{}
	for _, f := range files {
		if f.Type == fstree.Regular {
			if contents[f.Path], err = w.File(f.Path, f.Size, f.Content.Reader()); err != nil {
				t.Fatal(err)
			}
		}
	}
	decoy := fstree.Entry{Path: "decoy/x", Type: fstree.FIFO, UID: 77, Xattrs: []fstree.Xattr{{Name: "user.decoy", Value: make([]byte, 100)}}}
	mustAdd(t, w.tree, decoy)
	w.tree.Remove(w.tree.Find("decoy"))
	var links []fstree.Entry
	for _, f := range slices.Backward(files) {
		if f.Type == fstree.Hardlink {
			links = append(links, f.Entry)
			continue
		}
		n := mustAdd(t, w.tree, f.Entry)
		if f.Type == fstree.Regular {
			w.tree.SetContent(n, contents[f.Path])
		}
	}
	for _, e := range slices.Backward(links) {
		mustAdd(t, w.tree, e)
	}
	if _, err := w.close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sink.image(), want) {
		t.Error("the same tree made in another order gives another image")
	}
}

func mustAdd(t *testing.T, tree *fstree.Tree, e fstree.Entry) fstree.Node {
	t.Helper()
	n, err := tree.Add(e)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestGolden notices when the bytes for a given input change, which would turn
// every delta into a full download: the number in Encoder must change then.
func TestGolden(t *testing.T) {
	files := squashfstest.Tree(6, squashfstest.TreeOptions{})
	for _, tt := range []struct {
		opt  squashfs.Options
		want string
	}{
		{squashfs.Options{}, "58039202c285439137cf52fdc0a366d9689781f0123286147edd53d956a42f7e"},
		{squashfs.Options{Compression: squashfs.Gzip, BlockSize: 64 << 10}, "2c5b3ad6955bd846d517401e4d184516c1e5b0a70b84475b86ab8ea1090e117d"},
		{squashfs.Options{Compression: squashfs.None, Layout: squashfs.Compact}, "e7f275e3ddcf9dfec25d81409080dd6429dcfdd121ce04e0f3f8c7b4ff627d87"},
	} {
		image, _ := build(t, files, tt.opt)
		if got := fmt.Sprintf("%x", sha256.Sum256(image)); got != tt.want {
			t.Errorf("%s: image has SHA-256 %s; want %s", tt.opt.Encoder(), got, tt.want)
		}
	}
}

// usr makes something like a folder of programs and their small files, version
// by version: between two, every program with number in changed is another one.
func usr(count int, changed map[int]bool) []squashfstest.File {
	rng := rand.New(rand.NewPCG(7, 7))
	var files []squashfstest.File
	for i := range count {
		seed, size := rng.Uint64(), int64(rng.ExpFloat64()*6000)
		switch {
		case i%40 == 0:
			size += rng.Int64N(1 << 20)
		case i%8 == 0:
			size += rng.Int64N(100 << 10)
		}
		if changed[i] {
			seed++
			size += 333
		}
		files = append(files, file(fmt.Sprintf("usr/%02d/%04d", i/50, i), squashfstest.Text(seed, size)))
	}
	return files
}

// newBlocks returns the number of bytes of image in 4 KiB blocks that do not
// stand anywhere in old.
func newBlocks(old, image []byte) int {
	known := map[[32]byte]bool{}
	for ; len(old) > 0; old = old[4096:] {
		known[sha256.Sum256(old[:4096])] = true
	}
	n := 0
	for ; len(image) > 0; image = image[4096:] {
		if !known[sha256.Sum256(image[:4096])] {
			n += 4096
		}
	}
	return n
}

// TestOneChangedFile is what the aligned layout is for.
func TestOneChangedFile(t *testing.T) {
	for _, tt := range []struct {
		layout  squashfs.Layout
		atLeast float64 // shares of the image that are new
		atMost  float64
	}{
		{squashfs.Aligned, 0, 0.05},
		{squashfs.Compact, 0.5, 1},
	} {
		opt := squashfs.Options{Layout: tt.layout, Level: 1}
		old, stats := build(t, usr(800, nil), opt)
		for _, i := range []int{3, 40, 708} {
			image, _ := build(t, usr(800, map[int]bool{i: true}), opt)
			share := float64(newBlocks(old, image)) / float64(len(image))
			t.Logf("%v: file %d: %.2f %% new", tt.layout, i, 100*share)
			if i < 400 && share < tt.atLeast || share > tt.atMost {
				t.Errorf("%v: with file %d changed %.1f %% of the image is new (tables %.1f %%); want %.0f to %.0f %%",
					tt.layout, i, 100*share, 100*float64(stats.Tables)/float64(stats.Bytes), 100*tt.atLeast, 100*tt.atMost)
			}
		}
	}
}

// TestOverhead bounds what the aligned layout costs.
func TestOverhead(t *testing.T) {
	files := usr(1500, nil)
	_, aligned := build(t, files, squashfs.Options{Level: 1})
	_, compact := build(t, files, squashfs.Options{Level: 1, Layout: squashfs.Compact})
	fill := float64(aligned.FragmentBytes) / float64(aligned.Fragments) / squashfs.DefaultBlockSize
	overhead := float64(aligned.Bytes)/float64(compact.Bytes) - 1
	t.Logf("fragment blocks %.0f %% full, %d against %d, overhead %.2f %%", 100*fill, aligned.Fragments, compact.Fragments, 100*overhead)
	if fill < 0.65 || overhead > 0.05 {
		t.Errorf("fragment blocks %.0f %% full, overhead %.2f %%; want at least 65 and at most 5", 100*fill, 100*overhead)
	}
	if compact.Padding >= 4096 {
		t.Errorf("compact layout: %d bytes of padding; want less than a block", compact.Padding)
	}
}

func TestStats(t *testing.T) {
	text := squashfstest.Text(1, 50<<10)
	large := squashfstest.Noise(2, 900<<10)
	_, got := build(t, []squashfstest.File{
		file("a", text), file("b", text), file("c", large), file("d", large), file("zero", squashfstest.Zero(1<<20)),
		file("hole", squashfstest.WithHole(squashfstest.Noise(3, 2<<20), 0, 1<<20)), entry("link", 8, "a"), file("old", squashfstest.Zero(0)),
	}, squashfs.Options{})
	want := squashfs.Stats{Files: 7, Inodes: 8, Links: 1, DataIn: 100<<10 + 1800<<10 + 3<<20, Holes: 2 << 20,
		Duplicates: 2, DuplicateBytes: 950 << 10, Fragments: 1, FragmentBytes: 50 << 10}
	want.Bytes, want.Used, want.DataOut, want.Padding, want.Tables = got.Bytes, got.Used, got.DataOut, got.Padding, got.Tables
	if got != want {
		t.Errorf("Close() = %+v; want %+v", got, want)
	}
	if got.DataOut < 1900<<10 || got.DataOut > 2100<<10 {
		t.Errorf("DataOut = %d for 1924 KiB of noise and some text, each once", got.DataOut)
	}
	// Everything but block 0 and the padding at the end is accounted for.
	if sum := got.DataOut + got.Tables + got.Padding; got.Bytes-sum < 96-4096 || got.Bytes-sum > 96 {
		t.Errorf("%d bytes of data, tables and padding in an image of %d", sum, got.Bytes)
	}
}
