package initramfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/abupdate/abupdate/initramfs/modules"
	"github.com/abupdate/abupdate/initramfs/unpack"
)

// An initrd is this initramfs for another kernel: what the selector was
// unpacked to, with that kernel's modules in place of its own. Nothing of the
// selector's cpio is there any more, only its files.
type initrd struct {
	root    string // of the running initramfs
	release string
	modules []modules.Module
	kargs   string
	pin     []byte
}

// mountPoints are empty in an initramfs and full of other things at run time.
var mountPoints = []string{"dev", "proc", "run", "sys", "sysroot", "tmp", "var"}

// newInitrd finds the modules of the kernel in the module folder that were
// asked for when the selector was made.
func (b *boot) newInitrd(k kernel) (*initrd, error) {
	list, err := os.ReadFile(b.path(wantedPath))
	if err != nil {
		return nil, fmt.Errorf("reading which modules are wanted: %w", err)
	}
	b.sys.Alive()
	mods, err := modules.Resolve(modules.FromFS(os.DirFS(k.modules)), strings.Fields(string(list)), b.unpackModule)
	if err != nil {
		return nil, fmt.Errorf("finding modules of kernel %s: %w", k.release, err)
	}
	return &initrd{root: b.sys.Root(), release: k.release, modules: mods, kargs: k.kargs}, nil
}

// unpackModule decompresses a module of the slot: another kernel's decompressor
// cannot be asked before that kernel runs, and may not have one.
func (b *boot) unpackModule(name string, packed []byte) ([]byte, error) {
	b.sys.Alive()
	return unpack.File(name, packed)
}

func (i *initrd) writeTo(w io.Writer) error {
	c := &newc{w: w}
	err := i.copyTree(c)
	if err == nil {
		err = i.writeOwn(c)
	}
	if err == nil {
		err = i.writeModules(c)
	}
	if err == nil {
		err = c.close()
	}
	if err != nil {
		return fmt.Errorf("making the initramfs for kernel %s: %w", i.release, err)
	}
	return nil
}

// replaced says whether a file of the selector's has no place in the new
// initramfs, or another one of that name has.
func replaced(name string) bool {
	for _, own := range []string{modulesPath, kernelPath, kargsPath, pinPath, "/lib/modules"} {
		if "/"+name == own {
			return true
		}
	}
	return false
}

// copyTree copies what the selector's initramfs brought along: abinit, keys,
// configuration, tools.
func (i *initrd) copyTree(c *newc) error {
	return fs.WalkDir(os.DirFS(i.root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if replaced(name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		path := filepath.Join(i.root, name)
		switch mode := info.Mode(); mode.Type() {
		case fs.ModeDir:
			err = c.dir(name, mode)
			for _, point := range mountPoints {
				if err == nil && name == point {
					return fs.SkipDir
				}
			}
		case 0:
			var data []byte
			if data, err = os.ReadFile(path); err == nil {
				err = c.file(name, mode, data)
			}
		case fs.ModeSymlink:
			var target string
			if target, err = os.Readlink(path); err == nil {
				err = c.symlink(name, target)
			}
		}
		return err
	})
}

// writeOwn writes what differs from the selector's initramfs, and the nodes
// that the kernel needs before devtmpfs is there.
func (i *initrd) writeOwn(c *newc) error {
	var order strings.Builder
	for _, m := range i.modules {
		if m.Optional {
			order.WriteByte('?')
		}
		order.WriteString(i.modulePath(m) + "\n")
	}
	return errors.Join(
		c.char("dev/console", 0o600, 5, 1),
		c.char("dev/null", 0o666, 1, 3),
		c.file(modulesPath[1:], 0o644, []byte(order.String())),
		c.file(kernelPath[1:], 0o644, []byte(i.release+"\n")),
		c.file(kargsPath[1:], 0o644, []byte(i.kargs+"\n")),
		c.file(pinPath[1:], 0o644, i.pin),
	)
}

func (i *initrd) modulePath(m modules.Module) string {
	return "/lib/modules/" + i.release + "/" + m.Path
}

func (i *initrd) writeModules(c *newc) error {
	made := map[string]bool{".": true, "lib": true}
	for _, m := range i.modules {
		name := i.modulePath(m)[1:]
		if err := makeParents(c, made, filepath.Dir(name)); err != nil {
			return err
		}
		if err := c.file(name, 0o644, m.Data); err != nil {
			return err
		}
	}
	return nil
}

// makeParents adds a directory and those that it lies in, once.
func makeParents(c *newc, made map[string]bool, dir string) error {
	if made[dir] {
		return nil
	}
	made[dir] = true
	if err := makeParents(c, made, filepath.Dir(dir)); err != nil {
		return err
	}
	return c.dir(dir, 0o755)
}
