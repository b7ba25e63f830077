package testimage

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/abupdate/abupdate/initramfs/build"
)

// fsTools are the programs of e2fsprogs that make, check and grow /var; other
// names are symlinks to them.
var fsTools = map[string][]string{
	"mke2fs":    {"mkfs.ext4"},
	"e2fsck":    {"fsck.ext4"},
	"resize2fs": nil,
}

// systemLayer is a merged-usr tree with kernel, modules and e2fsprogs.
func systemLayer(k *Kernel) (v1.Layer, error) {
	var t tree
	for _, d := range []string{"boot", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/lib", "usr/lib64", "usr/sbin",
		"var", "var/lib", "var/log", "var/cache", "var/spool", "mnt"} {
		t.dir(d, 0o755)
	}
	t.dir("var/tmp", 0o1777)
	for _, d := range []string{"bin", "lib", "lib64", "sbin"} {
		t.symlink(d, "usr/"+d)
	}
	t.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/usr/sbin/nologin\n"))
	t.file("etc/group", 0o644, []byte("root:x:0:\n"))
	t.file("etc/machine-id", 0o444, nil)
	if err := addKernel(&t, k); err != nil {
		return nil, err
	}
	if err := addPrograms(&t); err != nil {
		return nil, err
	}
	return t.layer()
}

// addKernel adds the kernel, the modules that the initramfs and the guest's
// network need, and the list of the latter.
func addKernel(t *tree, k *Kernel) error {
	image, err := os.ReadFile(k.Image)
	if err != nil {
		return fmt.Errorf("adding kernel: %w", err)
	}
	dir := "usr/lib/modules/" + k.Release
	t.file(dir+"/vmlinuz", 0o644, image)
	builtin, err := os.ReadFile(filepath.Join(k.Modules, "modules.builtin"))
	if err != nil {
		return fmt.Errorf("adding kernel: %w", err)
	}
	t.file(dir+"/modules.builtin", 0o644, builtin)
	src := build.FromFS(os.DirFS(k.Modules))
	guest, err := build.ResolveModules(src, []string{"virtio_console", "virtio_net"})
	if err != nil {
		return fmt.Errorf("adding modules: %w", err)
	}
	boot, err := build.ResolveModules(src, build.DefaultModules())
	if err != nil {
		return fmt.Errorf("adding modules: %w", err)
	}
	have := map[string]bool{}
	var list strings.Builder
	for i, m := range append(guest, boot...) {
		if i < len(guest) {
			fmt.Fprintf(&list, "/%s/%s\n", dir, m.Path)
		}
		if !have[m.Path] {
			have[m.Path] = true
			t.file(dir+"/"+m.Path, 0o644, m.Data)
		}
	}
	t.file("etc/guest.modules", 0o644, []byte(list.String()))
	return nil
}

// addPrograms adds the host's e2fsprogs with their libraries.
func addPrograms(t *tree) error {
	libs := map[string]bool{}
	for name, links := range fsTools {
		file, err := lookPath(name)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("adding %s: %w", name, err)
		}
		t.file("usr/sbin/"+name, 0o755, data)
		for _, l := range links {
			t.symlink("usr/sbin/"+l, name)
		}
		if err := collectLibs(file, libs); err != nil {
			return err
		}
	}
	for file := range libs {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("adding library: %w", err)
		}
		t.file(filepath.Join("usr", strings.TrimPrefix(file, "/usr")), 0o755, data)
	}
	conf, err := os.ReadFile("/etc/mke2fs.conf")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("adding mke2fs.conf: %w", err)
	}
	t.file("etc/mke2fs.conf", 0o644, conf)
	return nil
}

// lookPath also looks where an ordinary user's PATH does not.
func lookPath(name string) (string, error) {
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if f, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return f, nil
		}
	}
	f, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("finding %s (Debian package e2fsprogs): %w", name, err)
	}
	return f, nil
}

// libDirs are the loader's default folders, with Debian's multiarch ones.
var libDirs = []string{"/lib/*-linux-gnu", "/usr/lib/*-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}

// collectLibs adds the libraries that the program needs, and theirs, and the
// loader, under the names that the programs know them by.
func collectLibs(file string, libs map[string]bool) error {
	f, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("reading libraries of %s: %w", file, err)
	}
	defer f.Close()
	var todo []string
	if interp := f.Section(".interp"); interp != nil {
		b, err := interp.Data()
		if err != nil {
			return fmt.Errorf("reading the loader of %s: %w", file, err)
		}
		todo = append(todo, strings.TrimRight(string(b), "\x00"))
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("reading libraries of %s: %w", file, err)
	}
	for _, n := range needed {
		lib, err := findLib(n, f.Machine)
		if err != nil {
			return fmt.Errorf("%s needs a library: %w", file, err)
		}
		todo = append(todo, lib)
	}
	for _, lib := range todo {
		if !libs[lib] {
			libs[lib] = true
			if err := collectLibs(lib, libs); err != nil {
				return err
			}
		}
	}
	return nil
}

func findLib(name string, machine elf.Machine) (string, error) {
	for _, pat := range libDirs {
		matches, _ := filepath.Glob(filepath.Join(pat, name))
		for _, m := range matches {
			if f, err := elf.Open(m); err == nil {
				same := f.Machine == machine
				f.Close()
				if same {
					return m, nil
				}
			}
		}
	}
	return "", fmt.Errorf("finding library %s: %w", name, fs.ErrNotExist)
}
