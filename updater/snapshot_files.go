package updater

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/internal/unsquash"
	"github.com/abupdate/abupdate/updater/diff"
	"github.com/abupdate/abupdate/verity"
)

// openSquashfs lists the files of an image.
func (s *snapshot) openSquashfs(name string, r io.ReaderAt, size int64) error {
	image, err := unsquash.Open(r, size)
	if err != nil {
		if errors.Is(err, unsquash.ErrCorrupt) || errors.Is(err, verity.ErrCorrupt) {
			err = fault.Wrap(fault.Verify, err)
		}
		return fmt.Errorf("reading %s: %w", name, err)
	}
	s.image, s.read = image, s.readSquashfs
	s.files = make([]diff.File, len(image.Files))
	for i := range image.Files {
		s.files[i].Entry = image.Files[i].Entry
	}
	return nil
}

func (s *snapshot) readSquashfs(_ context.Context, paths []string) (map[string][]byte, error) {
	r, err := s.image.NewReader()
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(paths))
	for _, path := range paths {
		i, ok := s.find(path)
		if !ok {
			continue
		}
		var b bytes.Buffer
		if err := r.Copy(&b, &s.image.Files[i]); err != nil {
			return nil, fault.Wrap(fault.Verify, err)
		}
		files[path] = b.Bytes()
	}
	return files, nil
}

// find returns the place of a file; of a hardlink, that of its first name.
func (s *snapshot) find(path string) (int, bool) {
	i, ok := slices.BinarySearchFunc(s.files, path, func(f diff.File, path string) int { return strings.Compare(f.Path, path) })
	if ok && s.files[i].Type == fstree.Hardlink {
		return s.find(s.files[i].Linkname)
	}
	return i, ok
}

// databaseLimit bounds a package database, bytes.
const databaseLimit = 64 << 20

// packages reads the database of the package manager that the image has, if it
// is one that is known, and returns its path.
func (s *snapshot) packages(ctx context.Context) (database string, packages []diff.Package, err error) {
	var paths []string
	parse := diff.ParseDpkg
	for _, d := range []struct {
		path  string
		parse func(string) []diff.Package
	}{{diff.DpkgStatus, diff.ParseDpkg}, {diff.ApkNew, diff.ParseApk}, {diff.ApkOld, diff.ParseApk}} {
		if i, ok := s.find(d.path); ok && s.files[i].Type == fstree.Regular && s.files[i].Size > 0 && database == "" {
			database, parse, paths = d.path, d.parse, []string{d.path}
		}
	}
	if database == "" {
		if paths = s.statusFiles(); len(paths) == 0 {
			return "", nil, nil
		}
		database = diff.DpkgDir
	}
	size := int64(0)
	for _, path := range paths {
		i, _ := s.find(path)
		if size += s.files[i].Size; size > databaseLimit {
			return "", nil, fault.Errorf(fault.Refused, "the package database /%s of %s has more than %d bytes", database, s.in.Name, databaseLimit)
		}
	}
	texts, err := s.read(ctx, paths)
	if err != nil {
		return "", nil, fmt.Errorf("reading the packages of %s: %w", s.in.Name, err)
	}
	for _, path := range paths {
		packages = append(packages, parse(string(texts[path]))...)
	}
	return "/" + database, packages, nil
}

// statusFiles are the files of diff.DpkgDir, without lists of checksums.
func (s *snapshot) statusFiles() []string {
	var paths []string
	first, _ := s.find(diff.DpkgDir + "/")
	for _, f := range s.files[min(first, len(s.files)):] {
		if !strings.HasPrefix(f.Path, diff.DpkgDir+"/") {
			break
		}
		if f.Type == fstree.Regular && !strings.HasSuffix(f.Path, ".md5sums") {
			paths = append(paths, f.Path)
		}
	}
	return paths
}

// checkedImage reads an image and compares every block with its hash.
type checkedImage struct {
	r    io.ReaderAt
	tree *verity.Tree
	bufs sync.Pool // of *[]byte
}

// ReadAt implements io.ReaderAt.
func (c *checkedImage) ReadAt(p []byte, off int64) (int, error) {
	size := c.tree.DataBlocks * verity.BlockSize
	if off < 0 || off >= size {
		return 0, io.EOF
	}
	want := min(int64(len(p)), size-off)
	first := off / verity.BlockSize
	length := (off+want+verity.BlockSize-1)/verity.BlockSize*verity.BlockSize - first*verity.BlockSize
	buf, ok := c.bufs.Get().(*[]byte)
	if !ok || int64(cap(*buf)) < length {
		buf = new([]byte)
		*buf = make([]byte, length)
	}
	defer c.bufs.Put(buf)
	blocks := (*buf)[:length]
	if n, err := c.r.ReadAt(blocks, first*verity.BlockSize); n < len(blocks) {
		return 0, fmt.Errorf("reading the image at byte %d: %w", first*verity.BlockSize+int64(n), noEOF(err))
	}
	if err := verifyBlocks(c.tree, first, blocks); err != nil {
		return 0, fault.Wrap(fault.Verify, err)
	}
	n := copy(p[:want], blocks[off-first*verity.BlockSize:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
