package squashfs_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/filesystem"
	reader "github.com/diskfs/go-diskfs/filesystem/squashfs"
	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

// image is a read-only backend over bytes.
type image struct{ *bytes.Reader }

func (image) Stat() (fs.FileInfo, error)              { return nil, fs.ErrInvalid }
func (image) Close() error                            { return nil }
func (image) Sys() (*os.File, error)                  { return nil, backend.ErrNotSuitable }
func (image) Writable() (backend.WritableFile, error) { return nil, backend.ErrIncorrectOpenMode }
func (image) Path() string                            { return "image" }

// TestReader compares the nasty tree with what go-diskfs reads, an
// implementation of the format that shares nothing with the others.
func TestReader(t *testing.T) {
	files := readable(squashfstest.Tree(3, squashfstest.TreeOptions{BigDir: 300}))
	want := readerLines(files)
	for _, tt := range []optionRow{
		{"compact", squashfs.Options{Layout: squashfs.Compact}},
		{"gzip, 128 KiB blocks", squashfs.Options{Compression: squashfs.Gzip, BlockSize: 128 << 10}},
		{"4 KiB blocks, fast", squashfs.Options{BlockSize: 4 << 10, Level: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, _ := build(t, files, tt.opt)
			if diff := cmp.Diff(want, readAll(t, img)); diff != "" {
				t.Errorf("go-diskfs reads something else (-want +got):\n%s", diff)
			}
		})
	}
}

// readable leaves out what go-diskfs 1.9.4 cannot read: names that are not
// UTF-8 or have a backslash, attributes besides the first two of a set, and values that stand out
// of line.
func readable(files []squashfstest.File) []squashfstest.File {
	var kept []squashfstest.File
	for _, f := range files {
		if !fs.ValidPath(f.Path) || strings.Contains(f.Path, `\`) {
			continue
		}
		total := 0
		f.Xattrs = slices.DeleteFunc(slices.Clone(f.Xattrs), func(x fstree.Xattr) bool {
			total++
			return total > 2 || len(x.Value) > 64
		})
		kept = append(kept, f)
	}
	return kept
}

// readerLines is what readAll returns for an image of files.
func readerLines(files []squashfstest.File) []string {
	byPath := map[string]squashfstest.File{}
	for _, f := range files {
		byPath[f.Path] = f
	}
	var lines []string
	for _, f := range files {
		at := f
		for at.Type == fstree.Hardlink {
			at = byPath[at.Linkname]
		}
		if f.Path == "" {
			continue
		}
		xattrs := map[string]string{}
		for _, x := range at.Xattrs {
			_, name, _ := strings.Cut(x.Name, ".") // go-diskfs leaves the name space out
			xattrs[name] = string(x.Value)
		}
		mtime := min(max(at.ModTime, 0), 1<<32-1)
		l := line{path: f.Path, typ: at.Type, perm: at.Mode & 0o777, uid: at.UID, gid: at.GID, mtime: mtime, xattrs: xattrs}
		switch at.Type {
		case fstree.Symlink:
			l.target = at.Linkname
		case fstree.Regular:
			l.sum = contentSum(at.Content.Reader())
		}
		lines = append(lines, l.String())
	}
	slices.Sort(lines)
	return lines
}

type line struct {
	path     string
	typ      fstree.Type
	perm     uint16
	uid, gid uint32
	mtime    int64
	target   string
	sum      string
	xattrs   map[string]string
}

func (l line) String() string {
	return fmt.Sprintf("%q %v %o %d:%d %d %q %s %q", l.path, l.typ, l.perm, l.uid, l.gid, l.mtime, l.target, l.sum, l.xattrs)
}

func contentSum(r io.Reader) string {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return fmt.Sprintf("%d bytes %x %v", n, h.Sum(nil), err)
}

// readAll lists an image by go-diskfs. Implicit directories, which have time
// 0 here, are left out.
func readAll(t testing.TB, img []byte) []string {
	t.Helper()
	fsys, err := reader.Read(image{bytes.NewReader(img)}, int64(len(img)), 0, 4096)
	if err != nil {
		t.Fatalf("reading the image: %v", err)
	}
	var lines []string
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := fsys.ReadDir(dir)
		if err != nil {
			t.Fatalf("reading directory %q: %v", dir, err)
		}
		for _, entry := range entries {
			path := strings.TrimPrefix(dir+"/"+entry.Name(), "./")
			lines = appendEntry(t, lines, path, entry)
			if entry.IsDir() {
				walk(path)
			}
		}
	}
	walk(".")
	slices.Sort(lines)
	return lines
}

var modeTypes = map[fs.FileMode]fstree.Type{
	0: fstree.Regular, fs.ModeDir: fstree.Directory, fs.ModeSymlink: fstree.Symlink, fs.ModeDevice: fstree.BlockDevice,
	fs.ModeDevice | fs.ModeCharDevice: fstree.CharDevice, fs.ModeNamedPipe: fstree.FIFO, fs.ModeSocket: fstree.Socket,
}

func appendEntry(t testing.TB, lines []string, path string, entry fs.DirEntry) []string {
	t.Helper()
	info, err := entry.Info()
	if err != nil {
		t.Fatalf("reading %q: %v", path, err)
	}
	stat := info.Sys().(*reader.StatT)
	l := line{path: path, typ: modeTypes[info.Mode().Type()], perm: uint16(info.Mode().Perm()), uid: stat.UID, gid: stat.GID,
		mtime: info.ModTime().Unix(), target: stat.LinkTarget, xattrs: stat.Xattrs}
	if info.IsDir() && info.ModTime().Equal(time.Unix(0, 0)) {
		return lines
	}
	if l.typ == fstree.Regular {
		f, err := entry.(interface {
			Open() (filesystem.File, error)
		}).Open()
		if err != nil {
			t.Fatalf("opening %q: %v", path, err)
		}
		l.sum = contentSum(f)
	}
	return append(lines, l.String())
}
