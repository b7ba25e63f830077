package oci_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// started is the time before which everything in a test was made on purpose.
var started = time.Now().Add(-time.Second)

// unpackUmoci flattens layers with the real umoci and lists what it made.
func unpackUmoci(t *testing.T, tars [][]byte) ([]found, error) {
	t.Helper()
	if _, err := exec.LookPath("umoci"); err != nil {
		t.Fatal("umoci is missing: install the Debian package umoci")
	}
	l := newLayout(t)
	l.index(tagged(l.image("amd64", types.OCILayer, gzipped, tars...), "x"))
	bundle := filepath.Join(t.TempDir(), "bundle")
	args := []string{"unpack", "--image", l.dir + ":x", bundle}
	if os.Getuid() != 0 {
		args = []string{"unpack", "--rootless", "--image", l.dir + ":x", bundle}
	}
	cmd := exec.Command("umoci", args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return listDir(t, filepath.Join(bundle, "rootfs")), nil
}

// listDir lists a directory as a Plan would.
func listDir(t *testing.T, root string) []found {
	t.Helper()
	var all []found
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if rel == "." {
			rel = ""
		}
		f, err := stat(path)
		f.Path = rel
		all = append(all, f)
		return err
	})
	if err != nil {
		t.Fatalf("listing what umoci made: %v", err)
	}
	slices.SortFunc(all, func(a, b found) int { return strings.Compare(a.Path, b.Path) })
	first := map[[2]uint64]string{}
	for i := range all {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, all[i].Path), &st); err != nil {
			t.Fatal(err)
		}
		id := [2]uint64{uint64(st.Dev), st.Ino}
		if name, ok := first[id]; ok {
			all[i] = found{Entry: fstree.Entry{Path: all[i].Path, Type: fstree.Hardlink, Linkname: name}}
		}
		if all[i].Type != fstree.Directory && first[id] == "" {
			first[id] = all[i].Path
		}
	}
	return all
}

var statTypes = map[uint32]fstree.Type{
	unix.S_IFREG: fstree.Regular, unix.S_IFDIR: fstree.Directory, unix.S_IFLNK: fstree.Symlink,
	unix.S_IFCHR: fstree.CharDevice, unix.S_IFBLK: fstree.BlockDevice, unix.S_IFIFO: fstree.FIFO,
}

func stat(path string) (f found, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return f, err
	}
	f.Type, f.Mode = statTypes[st.Mode&unix.S_IFMT], uint16(st.Mode&0o7777)
	f.UID, f.GID, f.ModTime = st.Uid, st.Gid, st.Mtim.Sec
	if age := time.Since(time.Unix(st.Mtim.Unix())); age >= 0 && age <= time.Since(started) {
		f.ModTime = 0 // umoci gives implicit directories the time of day
	}
	switch f.Type {
	case fstree.Regular:
		// An ordinary user may have to open the door first.
		if err := os.Chmod(path, 0o600); err != nil {
			return f, err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return f, err
		}
		f.Size, f.content = st.Size, string(b)
		f.Xattrs, err = xattrsOf(path)
		return f, errors.Join(err, unix.Chmod(path, uint32(f.Mode)))
	case fstree.Directory:
		f.Xattrs, err = xattrsOf(path)
		return f, errors.Join(err, os.Chmod(path, 0o700)) // and let the test remove it
	case fstree.Symlink:
		if f.Linkname, err = os.Readlink(path); err != nil {
			return f, err
		}
	case fstree.CharDevice, fstree.BlockDevice:
		f.Major, f.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	f.Xattrs, err = xattrsOf(path)
	return f, err
}

func xattrsOf(path string) ([]fstree.Xattr, error) {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, names)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing xattrs of %s: %w", path, err)
	}
	var out []fstree.Xattr
	for _, name := range bytes.Split(names[:n], []byte{0}) {
		if len(name) == 0 || string(name) == "security.selinux" {
			continue
		}
		value := make([]byte, 64<<10)
		m, err := unix.Lgetxattr(path, string(name), value)
		if err != nil {
			return nil, fmt.Errorf("reading xattr %s of %s: %w", name, path, err)
		}
		out = append(out, fstree.Xattr{Name: string(name), Value: slices.Clone(value[:m])})
	}
	fstree.SortXattrs(out)
	return out, nil
}

// ordinary takes away what an ordinary user's umoci cannot make: owners, the
// privileged namespaces of extended attributes, and devices, for which it
// makes empty files.
func ordinary(all []found) []found {
	out := slices.Clone(all)
	for i := range out {
		f := &out[i]
		f.UID, f.GID = 0, 0
		if f.Type == fstree.CharDevice || f.Type == fstree.BlockDevice {
			*f = found{Entry: fstree.Entry{Path: f.Path, Type: fstree.Regular}}
		}
		if f.Type == fstree.Regular && f.Size == 0 {
			f.Mode, f.ModTime = 0, 0
		}
		f.Xattrs = slices.DeleteFunc(slices.Clone(f.Xattrs), func(x fstree.Xattr) bool {
			return !strings.HasPrefix(x.Name, "user.") || x.Name == "user.rootlesscontainers"
		})
		if len(f.Xattrs) == 0 {
			f.Xattrs = nil
		}
	}
	return out
}
