package unsquash_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/internal/unsquash"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

// memorySink holds an image.
type memorySink struct{ b []byte }

func (m *memorySink) Write(p []byte) (int, error) {
	if m.b == nil {
		m.b = make([]byte, 4096)
	}
	m.b = append(m.b, p...)
	return len(p), nil
}

func (m *memorySink) WriteFirst(block []byte) error { copy(m.b, block); return nil }

// pack makes an image of files with package squashfs.
func pack(t *testing.T, files []squashfstest.File, opt squashfs.Options) ([]byte, *fstree.Tree) {
	t.Helper()
	sink, tree := new(memorySink), fstree.NewTree()
	w, err := squashfs.NewWriter(sink, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for _, links := range []bool{false, true} { // what they link to comes first
		for _, f := range files {
			if (f.Type == fstree.Hardlink) != links {
				continue
			}
			n, err := tree.Add(f.Entry)
			if err != nil {
				t.Fatal(err)
			}
			if f.Type != fstree.Regular {
				continue
			}
			c, err := w.File(f.Path, f.Size, f.Content.Reader())
			if err != nil {
				t.Fatal(err)
			}
			tree.SetContent(n, c)
		}
	}
	tree.Sort()
	if _, err := w.Close(tree); err != nil {
		t.Fatal(err)
	}
	return sink.b, tree
}

// entries are those of a tree as an Image has them: in the order of paths, the
// first of several names being the object.
func entries(tree *fstree.Tree) []fstree.Entry {
	names := map[string][]string{}
	objects := map[string]fstree.Entry{}
	for e := range tree.Entries() {
		first := e.Path
		if e.Type == fstree.Hardlink {
			first = e.Linkname
		} else {
			e.ModTime = min(max(e.ModTime, 0), math.MaxUint32)
			objects[e.Path] = e
		}
		names[first] = append(names[first], e.Path)
	}
	var all []fstree.Entry
	for first, e := range objects {
		slices.Sort(names[first])
		for i, path := range names[first] {
			if i > 0 {
				e = fstree.Entry{Type: fstree.Hardlink, Linkname: names[first][0]}
			}
			e.Path = path
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b fstree.Entry) int { return strings.Compare(a.Path, b.Path) })
	return all
}

// What package squashfs writes comes back: every name, all metadata, every
// byte.
func TestOurImages(t *testing.T) {
	for _, opt := range []squashfs.Options{{}, {Compression: squashfs.Gzip, BlockSize: 4 << 10, Layout: squashfs.Compact}} {
		t.Run(opt.Encoder(), func(t *testing.T) {
			files := squashfstest.Tree(7, squashfstest.TreeOptions{BigDir: 1000})
			image, tree := pack(t, files, opt)
			im, err := unsquash.Open(bytes.NewReader(image), int64(len(image)))
			if err != nil {
				t.Fatal(err)
			}
			var got []fstree.Entry
			contents := map[string]squashfstest.Content{}
			for _, f := range files {
				contents[f.Path] = f.Content
			}
			var regular []int
			for i, f := range im.Files {
				got = append(got, f.Entry)
				if f.Type == fstree.Regular {
					regular = append(regular, i)
				}
			}
			if diff := gocmp.Diff(entries(tree), got, sameXattrs); diff != "" {
				t.Fatalf("entries (-want +got):\n%.4000s", diff)
			}
			checkSums(t, im, regular, func(path string) io.Reader { return contents[object(files, path)].Reader() })
		})
	}
}

func checkSums(t *testing.T, im *unsquash.Image, regular []int, content func(path string) io.Reader) {
	t.Helper()
	var total, told int64
	sums, err := im.Sums(t.Context(), regular, func(done int64) { told = done })
	if err != nil {
		t.Fatal(err)
	}
	for k, i := range regular {
		h := sha256.New()
		n, err := io.Copy(h, content(im.Files[i].Path))
		if err != nil {
			t.Fatal(err)
		}
		total += n
		if !bytes.Equal(h.Sum(nil), sums[k][:]) {
			t.Errorf("content of /%s differs", im.Files[i].Path)
		}
	}
	if told != total {
		t.Errorf("progress ended at %d bytes of %d", told, total)
	}
}

// object follows hardlinks to the name that has the content.
func object(files []squashfstest.File, path string) string {
	for _, f := range files {
		if f.Path == path && f.Type == fstree.Hardlink {
			return object(files, f.Linkname)
		}
	}
	return path
}
