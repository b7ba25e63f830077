package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// A root is the folder that a machine has for its initramfs. It lies in memory
// where that can be, and serves one machine after the other: a campaign boots
// hundreds of thousands of times, and making files is most of what a boot costs.
type root struct {
	top string
	// mounted are the trees of an image, by the place in the root that they
	// were renamed to, which is how they are mounted.
	mounted map[string]string
}

// NoInit in a version says that its image does not boot.
const NoInit = "noinit"

const initPath = "sbin/init"

// files are what the images' roots hold, as far as the boot sequence looks;
// those with a slash at the end are folders.
var files = map[string]string{
	initPath: "#!", "usr/sbin/mkfs.ext4": "#!", "usr/sbin/e2fsck": "#!", "var/lib/app/default": "as shipped", "etc/hostname": "device",
	"dev/": "", "proc/": "", "run/": "", "sys/": "",
}

// What a boot that gets to the image's init leaves, in the order to take it
// away in, folders with a slash: in the trees, and around them.
var (
	dirt = []string{
		"sysroot/etc/machine-id",
		"sysroot/var/lib/abupdate/machine-id", "sysroot/var/lib/abupdate/filled-from", "sysroot/var/lib/abupdate/",
	}
	dirtAround = []string{
		"run/abupdate/boot.json", "run/abupdate/overlay/upper/", "run/abupdate/overlay/work/", "run/abupdate/overlay/", "run/abupdate/",
	}
)

var idle struct {
	sync.Mutex
	roots []*root
}

// Clean removes what machines left for the next ones. It belongs at the end of
// a program that started some.
func Clean() {
	idle.Lock()
	defer idle.Unlock()
	for _, r := range idle.roots {
		os.RemoveAll(r.top)
	}
	idle.roots = nil
}

// takeRoot returns a root that no other machine uses.
func takeRoot() (*root, error) {
	idle.Lock()
	defer idle.Unlock()
	if n := len(idle.roots); n > 0 {
		r := idle.roots[n-1]
		idle.roots = idle.roots[:n-1]
		return r, nil
	}
	return makeRoot()
}

func makeRoot() (*root, error) {
	top, err := os.MkdirTemp(memoryDir(), "campaign-")
	if err != nil {
		return nil, err
	}
	r := &root{top: top, mounted: make(map[string]string)}
	for _, dir := range []string{"dev", "proc", "run", "sys"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(r.dir(), dir), 0o755))
	}
	err = errors.Join(err, os.WriteFile(filepath.Join(r.dir(), "proc/cmdline"), []byte("abupdate.menu=0\n"), 0o644))
	for _, tree := range []string{"lower", "overlay"} {
		for _, suffix := range []string{"", NoInit} {
			err = errors.Join(err, putTree(r.tree(tree, suffix), suffix == ""))
		}
	}
	return r, err
}

// memoryDir is a folder in memory, if there is one.
func memoryDir() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func putTree(dir string, init bool) error {
	for name, text := range files {
		if name == initPath && !init {
			continue
		}
		p := filepath.Join(dir, name)
		var err error
		if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(p, 0o755)
		} else {
			err = errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o755))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *root) dir() string { return filepath.Join(r.top, "root") }

func (r *root) tree(name, suffix string) string { return filepath.Join(r.top, "images", name+suffix) }

// mount puts a tree of an image of this version at a folder that is empty, which
// os.Rename would not take.
func (r *root) mount(tree, target, version string) error {
	suffix := ""
	if strings.Contains(version, NoInit) {
		suffix = NoInit
	}
	if err := syscall.Rename(r.tree(tree, suffix), filepath.Join(r.dir(), target)); err != nil {
		return err
	}
	r.mounted[target] = r.tree(tree, suffix)
	return nil
}

// release gives the root back. After a boot that ended early nobody knows what
// is left, so that it is thrown away.
func (r *root) release(switched bool) error {
	if !switched {
		return os.RemoveAll(r.top)
	}
	if err := r.sweep(); err != nil {
		return err
	}
	idle.Lock()
	defer idle.Unlock()
	idle.roots = append(idle.roots, r)
	return nil
}

// sweep makes the root what it was before the boot.
func (r *root) sweep() error {
	if err := r.remove(dirt); err != nil {
		return err
	}
	for target, tree := range r.mounted {
		if err := os.Rename(filepath.Join(r.dir(), target), tree); err != nil {
			return err
		}
	}
	clear(r.mounted)
	return r.remove(dirtAround)
}

func (r *root) remove(names []string) error {
	for _, name := range names {
		remove := syscall.Unlink
		if strings.HasSuffix(name, "/") {
			remove = syscall.Rmdir
		}
		if err := remove(filepath.Join(r.dir(), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing %s: %w", name, err)
		}
	}
	return nil
}
