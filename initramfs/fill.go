package initramfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/abupdate/abupdate/internal/durable"
)

// filledPath names the image whose files var was filled with last.
const filledPath = "/lib/abupdate/filled-from"

// fillVar gives var what the image has in its own /var and var lacks.
//
// A directory that is missing is made, with all that the image has in it. In
// a directory that is there, files are added only at the first boot of an
// image: what somebody deleted stays deleted. Nothing that is there is ever
// changed. When var is being made, a cut lets all of it be made again, so that
// files need no sync of their own.
func (b *boot) fillVar(rootHash string, making bool) error {
	src, err := resolve(b.path(lowerDir), "/var")
	if err != nil {
		return err
	}
	mark, err := resolve(b.path(varDir), filledPath)
	if err != nil {
		return err
	}
	last, err := readFile(mark)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	known := strings.TrimSpace(string(last)) == rootHash
	if st, err := os.Lstat(src); err == nil && st.IsDir() {
		f := filler{boot: b, files: !known, sync: !making}
		if err := f.dir(src, b.path(varDir)); err != nil {
			return fmt.Errorf("filling it from the image: %w", err)
		}
		b.debug("/var: %d made", f.made)
	}
	if known {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(mark), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(mark, []byte(rootHash+"\n"), 0o644)
}

type filler struct {
	*boot
	files bool // add missing files to directories that are there
	sync  bool // make every file durable before it has its name
	made  int
}

// dir fills dst, which is a directory, from src.
func (f *filler) dir(src, dst string) error {
	if !f.files && isLeaf(src) {
		return nil
	}
	entries, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	f.sys.Alive()
	for _, e := range entries {
		if !f.files && !e.IsDir() {
			continue
		}
		from, to := filepath.Join(src, e.Name()), filepath.Join(dst, e.Name())
		have, err := os.Lstat(to)
		switch {
		case err == nil && have.IsDir() && e.IsDir():
			err = f.dir(from, to)
		case err == nil:
			// It is there, as whatever somebody made of it.
		case !errors.Is(err, os.ErrNotExist):
			return err
		case e.IsDir():
			err = f.newDir(from, to)
		default:
			err = f.newFile(from, to, e.Type())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isLeaf says that a directory of the image has none in it, by its links, as
// find does: dpkg alone has one with thousands of files, to be read at every boot.
func isLeaf(dir string) bool {
	var st syscall.Stat_t
	return syscall.Lstat(dir, &st) == nil && st.Nlink == 2
}

// newDir makes a directory that is missing and everything in it. It gets its
// name last, so that a cut does not leave one that looks complete.
func (f *filler) newDir(src, dst string) error {
	tmp := tempName(dst)
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	inner := *f
	inner.files = true
	err := inner.dir(src, tmp)
	f.made = inner.made + 1
	return f.name(src, tmp, dst, err)
}

// name gives what was made at tmp its attributes and its name, or takes it
// away again when making it failed.
func (f *filler) name(src, tmp, dst string, err error) error {
	if err == nil {
		err = f.copyMeta(src, tmp)
	}
	if err == nil {
		err = os.Rename(tmp, dst)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return nil
}

// newFile copies a regular file or a symlink; devices and the like are not
// for a persistent place.
func (f *filler) newFile(src, dst string, typ fs.FileMode) error {
	tmp := tempName(dst)
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	var err error
	switch typ {
	case 0:
		err = f.copyFile(src, tmp)
	case fs.ModeSymlink:
		var target string
		if target, err = os.Readlink(src); err == nil {
			err = os.Symlink(target, tmp)
		}
	default:
		return nil
	}
	f.made++
	return f.name(src, tmp, dst, err)
}

func (f *filler) copyFile(src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil && f.sync {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// copyMeta gives dst the owner, mode and time of src. Owner first: to change
// it clears setuid.
func (b *boot) copyMeta(src, dst string) error {
	st, err := os.Lstat(src)
	if err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		if err := b.sys.Lchown(dst, sys.Uid, sys.Gid); err != nil {
			return err
		}
	}
	if st.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	if err := os.Chmod(dst, st.Mode()); err != nil {
		return err
	}
	return os.Chtimes(dst, st.ModTime(), st.ModTime())
}

// tempName is where something is made before it gets its name.
func tempName(path string) string {
	return filepath.Join(filepath.Dir(path), ".abupdate-new")
}
