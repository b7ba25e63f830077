package initramfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// readFile is os.ReadFile without the runtime's poller, which would take every
// file of /proc and /sys for one to wait for: eight more system calls, and the
// poller's thread wakes up.
func readFile(name string) ([]byte, error) {
	fail := func(op string, err error) ([]byte, error) {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	fd, err := again(func() (int, error) { return syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0) })
	if err != nil {
		return fail("open", err)
	}
	defer syscall.Close(fd)
	for content := make([]byte, 0, 4096); ; {
		if len(content) == cap(content) {
			content = append(content, 0)[:len(content)]
		}
		n, err := again(func() (int, error) { return syscall.Read(fd, content[len(content):cap(content)]) })
		if err != nil {
			return fail("read", err)
		}
		if n <= 0 {
			return content, nil
		}
		content = content[:len(content)+n]
	}
}

// again calls a system call until no signal interrupts it.
func again(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != syscall.EINTR {
			return n, err
		}
	}
}

// dirFS is os.DirFS with readFile.
type dirFS struct {
	fs.FS
	dir string
}

func newDirFS(dir string) fs.FS { return dirFS{os.DirFS(dir), dir} }

// ReadFile implements fs.ReadFileFS.
func (d dirFS) ReadFile(name string) ([]byte, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return readFile(filepath.Join(d.dir, name))
}

// ReadDir and Stat implement fs.ReadDirFS and fs.StatFS, as os.DirFS does.
func (d dirFS) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(d.FS, name) }
func (d dirFS) Stat(name string) (fs.FileInfo, error)      { return fs.Stat(d.FS, name) }
