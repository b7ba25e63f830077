package initramfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// errLinks is returned for a path with more symlinks than the kernel follows.
var errLinks = errors.New("too many symlinks")

// resolve returns the path on this system of name inside root, with every
// symlink followed as if root were "/", the last one too. Images link
// absolutely (/sbin/init -> /lib/systemd/systemd), which package os would
// follow out of the root. The last component need not exist.
func resolve(root, name string) (string, error) {
	todo := strings.Split(path.Clean("/"+name), "/")
	done := "/"
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, part)
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil {
			done = next // not a symlink, or not there: its user will see
			continue
		}
		if links++; links > 40 {
			return "", fmt.Errorf("%s: %w", name, errLinks)
		}
		if path.IsAbs(target) {
			done = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return filepath.Join(root, done), nil
}

// findProgram returns the first of names that is an executable file in root,
// as a path inside root, and "" when there is none.
func findProgram(root string, names ...string) string {
	for _, name := range names {
		p, err := resolve(root, name)
		if err != nil {
			continue
		}
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return name
		}
	}
	return ""
}

// findTool looks for a program of the image where programs are.
func findTool(root, name string) string {
	return findProgram(root, "/usr/sbin/"+name, "/sbin/"+name, "/usr/bin/"+name, "/bin/"+name,
		"/usr/local/sbin/"+name, "/usr/local/bin/"+name)
}

// isDir says whether name inside root is a directory.
func isDir(root, name string) bool {
	p, err := resolve(root, name)
	if err != nil {
		return false
	}
	st, err := os.Stat(p)
	return err == nil && st.IsDir()
}

// makeDir makes the directory name inside root unless there is one.
func makeDir(root, name string, perm fs.FileMode) error {
	p, err := resolve(root, name)
	if err != nil {
		return err
	}
	return os.MkdirAll(p, perm)
}
