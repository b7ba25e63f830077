package compose

import (
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/oci"
)

// ErrNoKernel is wrapped when an image has no kernel that can start it.
var ErrNoKernel = errors.New("no kernel in the image")

// A Kernel is the one that an image brings along.
type Kernel struct {
	Release string // as uname -r prints it
	Path    string // of vmlinuz, from the root, without a leading slash
	Modules string // folder of its modules, likewise
}

// moduleDirs are the folders that hold one folder per kernel release, the
// usual one first.
var moduleDirs = []string{"usr/lib/modules/", "lib/modules/"}

// FindKernel returns the image's kernel: /usr/lib/modules/RELEASE/vmlinuz, or
// /boot/vmlinuz-RELEASE with a folder of modules. Exactly one release is
// expected.
func FindKernel(plan *oci.Plan) (Kernel, error) {
	found := make(map[string]Kernel)
	for release, path := range kernels(plan.Tree) {
		if k, ok := kernelAt(plan, release, path); ok && (found[release].Path == "" || !strings.HasPrefix(k.Path, "boot/")) {
			found[release] = k
		}
	}
	switch releases := slices.Sorted(maps.Keys(found)); len(releases) {
	case 0:
		return Kernel{}, fault.Errorf(fault.Usage, "looking for /usr/lib/modules/*/vmlinuz and /boot/vmlinuz-* with modules: %w", ErrNoKernel)
	case 1:
		return found[releases[0]], nil
	default:
		return Kernel{}, fault.Errorf(fault.Usage, "looking for the kernel: the image has %d (%s); one is expected", len(releases), strings.Join(releases, ", "))
	}
}

// kernels lists what may be kernels, by release, in the order of paths.
func kernels(t *fstree.Tree) iter.Seq2[string, string] {
	return func(yield func(release, path string) bool) {
		for n := range in(t, "boot") {
			release, ok := strings.CutPrefix(t.Name(n), "vmlinuz-")
			if ok && release != "" && !yield(release, t.Path(n)) {
				return
			}
		}
		for i := len(moduleDirs) - 1; i >= 0; i-- {
			for n := range in(t, moduleDirs[i]) {
				if t.Type(n) != fstree.Directory {
					continue
				}
				vmlinuz := t.Child(n, "vmlinuz")
				if vmlinuz != fstree.NoNode && !yield(t.Name(n), t.Path(vmlinuz)) {
					return
				}
			}
		}
	}
}

// in lists what is in a directory, which no symlink leads to.
func in(t *fstree.Tree, dir string) iter.Seq[fstree.Node] {
	n := t.Find(strings.TrimSuffix(dir, "/"))
	if n == fstree.NoNode || t.Type(n) != fstree.Directory {
		return func(func(fstree.Node) bool) {}
	}
	return t.Children(n)
}

func kernelAt(plan *oci.Plan, release, path string) (Kernel, bool) {
	file, ok := plan.Lookup(path)
	if !ok || file.Type != fstree.Regular && file.Type != fstree.Hardlink {
		return Kernel{}, false
	}
	for _, dir := range moduleDirs {
		if e, ok := plan.Lookup(dir + release); ok && e.Type == fstree.Directory {
			return Kernel{Release: release, Path: file.Path, Modules: e.Path}, true
		}
	}
	return Kernel{}, false
}
