package unsquash_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/internal/unsquash"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

// A file is an entry of a tree and what is in it.
type file struct {
	fstree.Entry
	content string
}

// tree has an example of everything, in the order of paths.
func tree() []file {
	var files []file
	put := func(e fstree.Entry, content string) *file {
		e.ModTime = 1_600_000_000 + int64(len(files))
		if e.Mode == 0 {
			e.Mode = 0o644
		}
		e.Size = int64(len(content))
		files = append(files, file{e, content})
		return &files[len(files)-1]
	}
	reg := func(path, content string) *file { return put(fstree.Entry{Path: path, Type: fstree.Regular}, content) }
	dir := func(path string) *file { return put(fstree.Entry{Path: path, Type: fstree.Directory, Mode: 0o755}, "") }
	dir("")
	dir("bin")
	reg("bin/su", "set user").Mode = 0o4755
	reg("bin/tool", noise(1, 700_000))
	put(fstree.Entry{Path: "bin/tool2", Type: fstree.Hardlink, Linkname: "bin/tool"}, "")
	dir("dev")
	put(fstree.Entry{Path: "dev/disk", Type: fstree.BlockDevice, Major: 259, Minor: 70000, Mode: 0o660}, "")
	put(fstree.Entry{Path: "dev/null", Type: fstree.CharDevice, Major: 1, Minor: 3, Mode: 0o666}, "")
	put(fstree.Entry{Path: "dev/pipe", Type: fstree.FIFO, Mode: 0o600}, "")
	dir("etc")
	reg("etc/empty", "")
	reg("etc/hole", strings.Repeat("\x00", 300_000)+"end")
	link := put(fstree.Entry{Path: "etc/link", Type: fstree.Symlink, Linkname: "../bin/tool", Mode: 0o777}, "")
	link.Size = 0
	owned := reg("etc/owned", "owned")
	owned.UID, owned.GID, owned.Mode = 1000, 70_000, 0o2640
	x := reg("etc/xattrs", "attributes")
	x.Xattrs = []fstree.Xattr{
		{Name: "security.capability", Value: []byte("\x01\x00\x00\x02\x00\x20\x00\x00")},
		{Name: "user.a", Value: []byte("one")}, {Name: "user.b", Value: []byte(noise(2, 5000))}, {Name: "user.c", Value: nil},
	}
	reg("etc/xattrs2", "the same attributes").Xattrs = x.Xattrs
	dir("many")
	for i := range 2000 {
		reg(fmt.Sprintf("many/%04d-%s", i, strings.Repeat("n", i%200)), fmt.Sprint(i))
	}
	dir("text")
	reg("text/lines", strings.Repeat("a line of text that compresses\n", 30_000))
	return files
}

func noise(seed uint64, n int64) string {
	b, err := io.ReadAll(squashfstest.Noise(seed, n).Reader())
	if err != nil {
		panic(err)
	}
	return string(b)
}

// mksquashfs makes an image of the tree with squashfs-tools.
func mksquashfs(t testing.TB, files []file, args ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	cmd := exec.Command("mksquashfs", append([]string{"-", path, "-tar", "-noappend", "-quiet", "-no-progress", "-processors", "1"}, args...)...)
	cmd.Stdin = bytes.NewReader(tarOf(t, files))
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal("mksquashfs is missing: install the Debian package squashfs-tools")
	}
	if err != nil {
		t.Fatalf("mksquashfs: %v\n%s", err, out)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func tarOf(t testing.TB, files []file) []byte {
	t.Helper()
	kinds := map[fstree.Type]byte{
		fstree.Regular: tar.TypeReg, fstree.Directory: tar.TypeDir, fstree.Symlink: tar.TypeSymlink, fstree.Hardlink: tar.TypeLink,
		fstree.CharDevice: tar.TypeChar, fstree.BlockDevice: tar.TypeBlock, fstree.FIFO: tar.TypeFifo,
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{
			Typeflag: kinds[f.Type], Name: cmp.Or(f.Path, "./"), Linkname: f.Linkname, Mode: int64(f.Mode), Size: f.Size,
			Uid: int(f.UID), Gid: int(f.GID), ModTime: time.Unix(f.ModTime, 0), Devmajor: int64(f.Major), Devminor: int64(f.Minor),
			PAXRecords: map[string]string{},
		}
		for _, x := range f.Xattrs {
			if len(x.Value) > 0 { // PAX says by an empty value that there is none
				h.PAXRecords["SCHILY.xattr."+x.Name] = string(x.Value)
			}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sameXattrs compares values of 64 KiB as a whole.
var sameXattrs = gocmp.Comparer(func(a, b []fstree.Xattr) bool {
	return slices.EqualFunc(a, b, func(x, y fstree.Xattr) bool { return x.Name == y.Name && bytes.Equal(x.Value, y.Value) })
})

// check compares an image with the tree that it was made of.
func check(t *testing.T, image []byte, files []file) {
	t.Helper()
	im, err := unsquash.Open(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	var got, want []fstree.Entry
	var regular []int
	for i, f := range im.Files {
		got = append(got, f.Entry)
		if f.Type == fstree.Regular {
			regular = append(regular, i)
		}
	}
	contents := map[string]string{}
	for _, f := range files {
		if f.Type == fstree.Hardlink {
			f.Entry = fstree.Entry{Path: f.Path, Type: f.Type, Linkname: f.Linkname}
		}
		want = append(want, f.Entry)
		contents[f.Path] = f.content
	}
	want[0].Mode, want[0].ModTime = got[0].Mode, got[0].ModTime // mksquashfs takes no root from a tar
	if diff := gocmp.Diff(want, got, sameXattrs); diff != "" {
		t.Fatalf("entries (-want +got):\n%.4000s", diff)
	}
	sums, err := im.Sums(t.Context(), regular, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, i := range regular {
		if path := im.Files[i].Path; sums[k] != sha256.Sum256([]byte(contents[path])) {
			t.Errorf("content of /%s differs", path)
		}
	}
}

// Images that squashfs-tools made, with every way to store things.
func TestMksquashfs(t *testing.T) {
	files := tree()
	// An empty value does not come through a tar.
	for i := range files {
		files[i].Xattrs = slices.DeleteFunc(slices.Clone(files[i].Xattrs), func(x fstree.Xattr) bool { return len(x.Value) == 0 })
	}
	for _, args := range []string{
		"-comp zstd", "-comp gzip", "-comp zstd -b 4K", "-comp gzip -b 1M -always-use-fragments",
		"-comp zstd -noI -noD -noF -noX", "-comp zstd -no-fragments -no-duplicates", "-comp gzip -no-exports -no-sparse",
	} {
		t.Run(args, func(t *testing.T) { check(t, mksquashfs(t, files, strings.Fields(args)...), files) })
	}
}

func TestRefused(t *testing.T) {
	good := mksquashfs(t, tree()[:3], "-comp", "zstd")
	for _, tt := range []struct {
		name    string
		corrupt func(b []byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"zeros", func(b []byte) []byte { return make([]byte, len(b)) }},
		{"its start", func(b []byte) []byte { return b[:200] }},
		{"version 3", func(b []byte) []byte { b[28] = 3; return b }},
		{"xz", func(b []byte) []byte { b[20] = 4; return b }},
		{"blocks of 2 MiB", func(b []byte) []byte { b[22] = 21; b[14] = 0x20; b[13] = 0; return b }},
		{"root elsewhere", func(b []byte) []byte { b[32] ^= 0xff; return b }},
		{"inodes elsewhere", func(b []byte) []byte { b[64] += 3; return b }},
		{"listings elsewhere", func(b []byte) []byte { b[72] += 3; return b }},
		{"owners elsewhere", func(b []byte) []byte { b[55] = 0x7f; return b }},
		{"fragments beyond the end", func(b []byte) []byte { b[85] = 0x7f; b[16] = 1; return b }},
		{"attributes beyond the end", func(b []byte) []byte { copy(b[56:64], "\xff\xff\xff\xff\xff\xff\xff\x7f"); return b }},
	} {
		b := tt.corrupt(bytes.Clone(good))
		if _, err := unsquash.Open(bytes.NewReader(b), int64(len(b))); !errors.Is(err, unsquash.ErrCorrupt) {
			t.Errorf("%s: Open() = %v; want ErrCorrupt", tt.name, err)
		}
	}
}

func TestOnlyRegularFilesHaveContent(t *testing.T) {
	b := mksquashfs(t, tree()[:3])
	im, err := unsquash.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := im.NewReader()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Copy(io.Discard, &im.Files[0]); err == nil {
		t.Error("Copy() of a directory: no error")
	}
}

// FuzzOpen changes bytes of good images: whatever they say then, nothing may
// panic, hang, or take memory that the image cannot account for.
func FuzzOpen(f *testing.F) {
	files := append(tree()[:17], tree()[len(tree())-2:]...)
	for _, args := range []string{"-comp zstd", "-comp gzip -b 4K", "-comp zstd -noI -noD -noF -noX"} {
		small := mksquashfs(f, slices.DeleteFunc(slices.Clone(files), func(x file) bool { return x.Size > 1<<16 }), strings.Fields(args)...)
		f.Add(small, uint32(0), uint32(0))
		f.Add(small, uint32(33), uint32(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, at, x uint32) {
		b = bytes.Clone(b)
		if len(b) > 4 {
			at %= uint32(len(b) - 3)
			for i := range 4 {
				b[int(at)+i] ^= byte(x >> (8 * i))
			}
		}
		im, err := unsquash.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if !errors.Is(err, unsquash.ErrCorrupt) {
				t.Errorf("Open() = %v; want ErrCorrupt", err)
			}
			return
		}
		r, err := im.NewReader()
		if err != nil {
			t.Fatal(err)
		}
		for i := range im.Files {
			if file := &im.Files[i]; file.Type == fstree.Regular && file.Size < 1<<20 {
				if err := r.Copy(io.Discard, file); err != nil && !errors.Is(err, unsquash.ErrCorrupt) {
					t.Errorf("Copy() = %v; want ErrCorrupt", err)
				}
			}
		}
	})
}
