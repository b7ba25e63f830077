package etc

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Print is what matters of a file: type, permissions, owner and content; two
// files with the same print are the same. "" is no file.
type Print string

// An Index has the prints of files by their paths below /etc.
type Index map[string]Print

func (p Print) isDir() bool    { return strings.HasPrefix(string(p), "d ") }
func (p Print) isOpaque() bool { return p.isDir() && strings.HasSuffix(string(p), " opaque") }

// ignored is set by the initramfs at every boot: it is no change.
func ignored(path string) bool { return path == "machine-id" }

// overlay's marks in an upper directory.
const opaque = "trusted.overlay.opaque"

// printOf returns the print of a file. In an upper directory a character
// device 0:0 stands for a file that was removed, and an opaque directory hides
// what the image has in it, so that it equals none of the image's.
func printOf(path string, upper bool) (Print, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("%s: no owner", path)
	}
	if upper && st.Mode()&fs.ModeCharDevice != 0 && sys.Rdev == 0 {
		return "", nil
	}
	own := fmt.Sprintf("%04o %d:%d", sys.Mode&0o7777, sys.Uid, sys.Gid)
	switch st.Mode().Type() {
	case 0:
		sum, err := hashFile(path)
		return Print("f " + own + " " + sum), err
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		return Print(fmt.Sprintf("l %d:%d %s", sys.Uid, sys.Gid, target)), err
	case fs.ModeDir:
		if upper && isOpaque(path) {
			own += " opaque"
		}
		return Print("d " + own), nil
	}
	return Print(fmt.Sprintf("o %o %d:%d %x", sys.Mode, sys.Uid, sys.Gid, sys.Rdev)), nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// isOpaque asks for an attribute that only root can see, and only root's
// overlay sets.
func isOpaque(path string) bool {
	var value [1]byte
	n, err := unix.Lgetxattr(path, opaque, value[:])
	return err == nil && n == 1 && value[0] == 'y'
}

// index returns the prints of everything below dir; a dir that is not there
// has nothing. Of an upper directory, removed files are in it with "".
func index(dir string, upper bool) (Index, error) {
	ix := make(Index)
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == dir {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." || ignored(rel) {
			return err
		}
		ix[rel], err = printOf(path, upper)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading files: %w", err)
	}
	return ix, nil
}
