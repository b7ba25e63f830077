package testimage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Kernel is an unpacked Debian kernel package.
type Kernel struct {
	Release string // as uname -r prints it
	Image   string // file: vmlinuz
	Modules string // folder: .../lib/modules/RELEASE
}

// CacheDir is where downloads and built artefacts stay between runs:
// $ABUPDATE_CACHE, else .cache in the repository.
func CacheDir() (string, error) {
	if dir := os.Getenv("ABUPDATE_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	root, err := repoRoot()
	if err != nil {
		return "", fmt.Errorf("finding the cache folder ($ABUPDATE_CACHE is not set): %w", err)
	}
	return filepath.Join(root, ".cache"), nil
}

// repoRoot is the nearest folder at or above the current one with a go.mod.
func repoRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not inside the repository")
		}
		dir = filepath.Dir(dir)
	}
}

// CloudKernel returns Debian's cloud kernel for this architecture, from the
// cache, else downloaded by apt-get as an ordinary user can do it. Nothing is
// installed.
func CloudKernel(ctx context.Context) (*Kernel, error) {
	return debianKernel(ctx, "kernel", "linux-image-cloud-"+runtime.GOARCH)
}

// GenericKernel is CloudKernel for the kernel of ordinary machines.
func GenericKernel(ctx context.Context) (*Kernel, error) {
	return debianKernel(ctx, "kernel-generic", "linux-image-"+runtime.GOARCH)
}

// debianKernel returns the kernel that a metapackage stands for.
func debianKernel(ctx context.Context, cacheName, meta string) (*Kernel, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, cacheName)
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if k, err := findKernel(dir); k != nil || err != nil {
		return k, err
	}
	if err := download(ctx, dir, meta); err != nil {
		return nil, fmt.Errorf("fetching the kernel of %s: %w", meta, err)
	}
	k, err := findKernel(dir)
	if k == nil && err == nil {
		err = fmt.Errorf("fetching the kernel of %s: no modules in %s", meta, dir)
	}
	return k, err
}

// findKernel returns the newest kernel unpacked below dir, or nil.
func findKernel(dir string) (*Kernel, error) {
	var found []string
	for _, pat := range []string{"*/lib/modules/*", "*/usr/lib/modules/*"} {
		m, err := filepath.Glob(filepath.Join(dir, pat))
		if err != nil {
			return nil, err
		}
		found = append(found, m...)
	}
	if len(found) == 0 {
		return nil, nil
	}
	slices.Sort(found)
	mods := found[len(found)-1]
	rel, err := filepath.Rel(dir, mods)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(dir, strings.Split(rel, string(filepath.Separator))[0])
	k := &Kernel{Release: filepath.Base(mods), Modules: mods}
	k.Image = filepath.Join(root, "boot", "vmlinuz-"+k.Release)
	if _, err := os.Stat(k.Image); err != nil {
		return nil, fmt.Errorf("finding the kernel: %w", err)
	}
	return k, nil
}

func download(ctx context.Context, dir, meta string) error {
	out, err := command(ctx, dir, "apt-cache", "depends", meta)
	if err != nil {
		return err
	}
	name, err := KernelPackage(out)
	if err != nil {
		return fmt.Errorf("%w in what apt-cache says of %s; has apt-get update run?", err, meta)
	}
	tmp, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if _, err := command(ctx, tmp, "apt-get", "-q", "download", name); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download %s left %d packages", name, len(debs))
	}
	if _, err := command(ctx, tmp, "dpkg-deb", "-x", debs[0], "root"); err != nil {
		return err
	}
	return os.Rename(filepath.Join(tmp, "root"), filepath.Join(dir, strings.TrimSuffix(filepath.Base(debs[0]), ".deb")))
}

var kernelDepends = regexp.MustCompile(`(?m)^[ |]*Depends: <?(linux-image-[0-9][^ >\n]*)`)

// KernelPackage finds the package that a kernel's metapackage stands for in
// the output of apt-cache depends. Of alternatives the first one counts; a
// real package comes before a virtual one, which is in angle brackets.
func KernelPackage(depends string) (string, error) {
	best := ""
	for _, m := range kernelDepends.FindAllStringSubmatch(depends, -1) {
		if !strings.Contains(m[0], "<") {
			return m[1], nil
		}
		if best == "" {
			best = m[1]
		}
	}
	if best == "" {
		return "", errors.New("no kernel package")
	}
	return best, nil
}

func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if ee, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("running %s %s: %w: %s", name, strings.Join(args, " "), err, ee.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("running %s: %w", name, err)
	}
	return string(out), nil
}

// lock makes dir and keeps other processes out of it until unlock.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making cache: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking cache: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking cache %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}
