package unsquash_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/internal/unsquash"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

func finder(t testing.TB, image []byte) *unsquash.Finder {
	t.Helper()
	f, err := unsquash.NewFinder(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A Finder gives what the list of all files gives, in any order.
func TestFinder(t *testing.T) {
	files := tree()
	for _, args := range []string{"-comp zstd", "-comp gzip -b 4K", "-comp zstd -noI -noD -noF -noX -no-fragments"} {
		t.Run(args, func(t *testing.T) {
			image := mksquashfs(t, files, strings.Fields(args)...)
			f := finder(t, image)
			contents := map[string]string{}
			for _, x := range files {
				if contents[x.Path] = x.content; x.Type == fstree.Hardlink {
					contents[x.Path] = contents[x.Linkname]
				}
			}
			rng := rand.New(rand.NewPCG(1, 2))
			order := rng.Perm(len(files))
			for _, i := range append(order, order...) {
				x := files[i]
				r, size, err := f.Open(x.Path)
				if x.Type != fstree.Regular && x.Type != fstree.Hardlink {
					if err == nil {
						t.Errorf("Open(%q), a %v: no error", x.Path, x.Type)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if rng.IntN(4) == 0 { // not all of it
					_, _ = io.CopyN(io.Discard, r, size/2)
					continue
				}
				if got, err := io.ReadAll(r); err != nil || string(got) != contents[x.Path] || size != int64(len(got)) {
					t.Fatalf("%q has %d bytes, %v; want the %d of the tree", x.Path, len(got), err, len(contents[x.Path]))
				}
			}
		})
	}
}

// What package squashfs wrote has content at the paths of its tree.
func TestFinderOnOurs(t *testing.T) {
	files := []squashfstest.File{
		{Entry: fstree.Entry{Path: "a", Type: fstree.Directory, Mode: 0o755}},
		{Entry: fstree.Entry{Path: "a/b", Type: fstree.Directory, Mode: 0o755}},
		{Entry: fstree.Entry{Path: "a/b/c", Type: fstree.Regular, Size: 700_000}, Content: squashfstest.Noise(1, 700_000)},
		{Entry: fstree.Entry{Path: "a/d", Type: fstree.Regular, Size: 100}, Content: squashfstest.Noise(2, 100)},
		{Entry: fstree.Entry{Path: "l", Type: fstree.Symlink, Linkname: "a"}},
	}
	image, _ := pack(t, files, squashfs.Options{})
	f := finder(t, image)
	for path, want := range map[string]string{"a/b/c": noise(1, 700_000), "a/d": noise(2, 100)} {
		r, _, err := f.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != want {
			t.Errorf("%q has %d bytes, %v; want %d", path, len(got), err, len(want))
		}
	}
	for _, path := range []string{"", "a", "a/", "/a/d", "x", "a/x", "a/d/x", "l/d", "a/b/../d"} {
		if _, _, err := f.Open(path); err == nil {
			t.Errorf("Open(%q): no error", path)
		}
	}
}

// Metadata that does not fit is read anew.
func TestFinderForgets(t *testing.T) {
	var files []squashfstest.File
	for d := range 40 {
		dir := "d" + strings.Repeat("x", d)
		files = append(files, squashfstest.File{Entry: fstree.Entry{Path: dir, Type: fstree.Directory, Mode: 0o755}})
		for i := range 500 {
			files = append(files, squashfstest.File{
				Entry: fstree.Entry{Path: dir + "/" + noiseName(uint64(d*500+i)), Type: fstree.Regular, Size: 9}, Content: squashfstest.Noise(uint64(d*500+i), 9),
			})
		}
	}
	image, _ := pack(t, files, squashfs.Options{})
	f := finder(t, image)
	for _, i := range rand.New(rand.NewPCG(3, 4)).Perm(len(files))[:3000] {
		x := files[i]
		if x.Type != fstree.Regular {
			continue
		}
		r, _, err := f.Open(x.Path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(x.Content.Reader())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%q is %q, %v; want %q", x.Path, got, err, want)
		}
	}
}

func noiseName(seed uint64) string {
	const letters = "abcdefghijklmnopqrstuvwxyz012345"
	rng, b := rand.New(rand.NewPCG(seed, 9)), make([]byte, 200)
	for i := range b {
		b[i] = letters[rng.IntN(len(letters))]
	}
	return string(b)
}

// Blocks that cannot be read are errors of the file that they are of.
func TestFinderOnBadMedium(t *testing.T) {
	image := mksquashfs(t, tree()[:5], "-comp", "zstd")
	f, err := unsquash.NewFinder(&badFrom{bytes.NewReader(image), 50_000, 400_000}, int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := f.Open("bin/tool") // 700 kB of noise
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); !errors.Is(err, errBad) || n == 0 && n >= 700_000 {
		t.Errorf("reading gives %d bytes and %v; want %v", n, err, errBad)
	}
	if r, _, err = f.Open("bin/su"); err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if err != nil {
		t.Errorf("reading what is good: %v", err)
	}
}

var errBad = errors.New("bad block")

type badFrom struct {
	*bytes.Reader
	from, to int64
}

func (b *badFrom) ReadAt(p []byte, off int64) (int, error) {
	if off < b.to && off+int64(len(p)) > b.from {
		return 0, errBad
	}
	return b.Reader.ReadAt(p, off)
}
