package squashfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

type optionRow struct {
	name string
	opt  squashfs.Options
}

// TestExtract compares the nasty tree with what unsquashfs extracts, except
// for what an ordinary user cannot create.
func TestExtract(t *testing.T) {
	files := extractable(t, squashfstest.Tree(1, squashfstest.TreeOptions{}))
	want := squashfstest.Expected(files...)
	for _, tt := range []optionRow{
		{"as by default", squashfs.Options{}},
		{"gzip, 4 KiB blocks, compact", squashfs.Options{Compression: squashfs.Gzip, BlockSize: 4 << 10, Layout: squashfs.Compact}},
		{"1 MiB blocks, better", squashfs.Options{BlockSize: 1 << 20, Level: 6}},
		{"no compression, 64 KiB blocks", squashfs.Options{Compression: squashfs.None, BlockSize: 64 << 10}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			image, _ := build(t, files, tt.opt)
			if diff := cmp.Diff(want, extract(t, image)); diff != "" {
				t.Errorf("extracted tree differs (-want +got):\n%s", diff)
			}
		})
	}
}

func extract(t *testing.T, image []byte) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	unsquashfs(t, "-quiet", "-no-progress", "-user-xattrs", "-dest", root, save(t, image))
	got, err := squashfstest.List(root)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// extractable turns a tree into one that anybody can create on any file
// system, as if it had been written by the user of the test, under any umask.
// TestList compares the rest. The order of entries stays.
func extractable(t *testing.T, files []squashfstest.File) []squashfstest.File {
	t.Helper()
	attributes := userXattrs(t)
	var kept []squashfstest.File
	device := map[string]bool{}
	for _, f := range files {
		switch f.Type {
		case fstree.CharDevice, fstree.BlockDevice:
			device[f.Path] = true
			continue
		case fstree.Regular:
			f.Mode = f.Mode&0o700 | 0o600
		case fstree.Directory:
			f.Mode = 0o700
		case fstree.FIFO, fstree.Socket:
			f.Mode &= 0o700
		}
		f.UID, f.GID = uint32(os.Getuid()), uint32(os.Getgid())
		room := 2000 // ext4 keeps all attributes of an inode in a block of 4 KiB
		f.Xattrs = slices.DeleteFunc(slices.Clone(f.Xattrs), func(x fstree.Xattr) bool {
			room -= len(x.Name) + len(x.Value) + 20
			return !attributes || room < 0 || !strings.HasPrefix(x.Name, "user.")
		})
		kept = append(kept, f)
	}
	kept = slices.DeleteFunc(kept, func(f squashfstest.File) bool {
		return f.Type == fstree.Hardlink && device[f.Linkname]
	})
	return withoutImplicit(kept)
}

// withoutImplicit names every directory, so that no owner is made up.
func withoutImplicit(files []squashfstest.File) []squashfstest.File {
	known := map[string]bool{"": true}
	for _, f := range files {
		known[f.Path] = true
	}
	for _, f := range files {
		for dir := filepath.Dir(f.Path); !known[dir] && dir != "."; dir = filepath.Dir(dir) {
			known[dir] = true
			files = append(files, squashfstest.File{Entry: fstree.Entry{Path: dir, Type: fstree.Directory, Mode: 0o700,
				UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), ModTime: 5}})
		}
	}
	return files
}

// userXattrs reports whether the temporary folder's file system holds user
// attributes; a tmpfs of an older kernel does not.
func userXattrs(t *testing.T) bool {
	t.Helper()
	err := unix.Setxattr(t.TempDir(), "user.test", []byte("x"), 0)
	if errors.Is(err, unix.ENOTSUP) {
		t.Logf("the temporary folder holds no user attributes: they are compared through go-diskfs only")
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

var listLine = regexp.MustCompile(`^(\S{10}) (\d+)/(\d+) +(?:(\d+), *(\d+)|(\d+)) (\d{4}-\d\d-\d\d \d\d:\d\d) (.*)$`)

// TestList compares types, modes, owners, sizes, device numbers, times and
// link targets of the nasty tree as unsquashfs lists them.
func TestList(t *testing.T) {
	files := slices.DeleteFunc(squashfstest.Tree(2, squashfstest.TreeOptions{BigDir: 3000}), func(f squashfstest.File) bool {
		return strings.Contains(f.Path+f.Linkname, "\n") || f.Minor > 255 // it prints only 8 bits of a minor number
	})
	byPath := map[string]squashfstest.File{}
	for _, f := range files {
		byPath[f.Path] = f
	}
	var want []string
	for _, f := range files {
		for at := f; ; at = byPath[at.Linkname] {
			if at.Type != fstree.Hardlink {
				want = append(want, lineOf(f.Path, at))
				break
			}
		}
	}
	image, _ := build(t, files, squashfs.Options{})
	var got []string
	for line := range strings.Lines(unsquashfs(t, "-lln", "-UTC", save(t, image))) {
		if !strings.Contains(line, "squashfs-root") {
			continue
		}
		m := listLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("unsquashfs printed %q", line)
		}
		path := strings.TrimPrefix(strings.TrimPrefix(m[8], "squashfs-root"), "/")
		size := m[4] + "," + m[5] + m[6]
		if m[1][0] == 'd' {
			if _, ok := byPath[path]; !ok {
				continue // implicit
			}
			size = ","
		}
		got = append(got, fmt.Sprintf("%s %s %s %s %s %s", path, m[1], m[2], m[3], size, m[7]))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unsquashfs -lln differs (-want +got):\n%s", diff)
	}
}

// lineOf is what TestList makes of a line.
func lineOf(path string, f squashfstest.File) string {
	mode := []byte("?rwxrwxrwx")
	mode[0] = map[fstree.Type]byte{fstree.Regular: '-', fstree.Directory: 'd', fstree.Symlink: 'l', fstree.CharDevice: 'c',
		fstree.BlockDevice: 'b', fstree.FIFO: 'p', fstree.Socket: 's'}[f.Type]
	for i := range 9 {
		if f.Mode&(0o400>>i) == 0 {
			mode[1+i] = '-'
		}
	}
	for i, bit := range []uint16{0o4000, 0o2000, 0o1000} {
		if x := &mode[3+3*i]; f.Mode&bit != 0 {
			*x = map[bool]string{true: "sst", false: "SST"}[*x == 'x'][i]
		}
	}
	size := ",0"
	switch f.Type {
	case fstree.Regular:
		size = fmt.Sprintf(",%d", f.Size)
	case fstree.Symlink:
		path += " -> " + f.Linkname
		size = fmt.Sprintf(",%d", len(f.Linkname))
	case fstree.CharDevice, fstree.BlockDevice:
		size = fmt.Sprintf("%d,%d", f.Major, f.Minor)
	case fstree.Directory:
		size = ","
	}
	mtime := time.Unix(min(max(f.ModTime, 0), 1<<32-1), 0).UTC().Format("2006-01-02 15:04")
	return fmt.Sprintf("%s %s %d %d %s %s", path, mode, f.UID, f.GID, size, mtime)
}
