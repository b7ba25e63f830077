package debianimage

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// epoch is the newest time that a file of the images may have.
const epoch = 1735689600 // 2025-01-01

// extraPackage is what the second version has and the first has not.
const extraPackage = "htop"

// packages is what the root file system holds besides Debian's minimal set.
func packages() []string {
	return []string{"systemd", "systemd-sysv", "udev", "dbus", "e2fsprogs", "openssh-server", "linux-image-cloud-" + runtime.GOARCH}
}

// initramfsControl is the control file of an empty package. Debian's kernel
// packages want a builder of initramfs; here that is abupdate, on the build
// host.
const initramfsControl = `Package: abupdate-initramfs
Version: 1
Architecture: all
Maintainer: abupdate
Provides: linux-initramfs-tool
Description: stands for abupdate, which makes the initramfs
`

// A meta is what the top layer needs to know of the roots.
type meta struct {
	Kernel    string `json:"kernel"`
	OSRelease string `json:"os_release"`
}

// roots are Debian systems without anything of ours.
type roots struct {
	base, more v1.Image
	meta       meta
}

// buildRoots returns the roots in the cache, and makes them when they are not
// there. A second process that wants the same waits for the first.
func buildRoots(ctx context.Context, opt Options) (*roots, error) {
	suite := opt.Suite
	if suite == "" {
		var err error
		if suite, err = hostSuite(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(opt.CacheDir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(opt.CacheDir, "debian.lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir := filepath.Join(opt.CacheDir, cacheName(suite))
	if r, err := loadRoots(dir); err == nil {
		return r, nil
	}
	if err := removeLeftovers(opt.CacheDir); err != nil {
		return nil, err
	}
	m, err := newMaker(ctx, suite, opt)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(m.dir)
	if err := m.make(ctx); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.Rename(filepath.Join(m.dir, "layout"), dir); err != nil {
		return nil, err
	}
	return loadRoots(dir)
}

// newDir begins the names of folders in which roots are made.
const newDir = "debian-new-"

// removeLeftovers removes what killed makers left; the lock says that none is
// at work.
func removeLeftovers(cache string) error {
	dirs, err := filepath.Glob(filepath.Join(cache, newDir+"*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// cacheName changes with everything that goes into the roots, except for the
// day on which Debian's packages were fetched.
func cacheName(suite string) string {
	h := sha256.New()
	const format = 2 // goes up when the same packages are packed in another way
	fmt.Fprintln(h, format, suite, epoch, extraPackage, initramfsControl, packages(), mmdebstrapArgs(""), hooks)
	return fmt.Sprintf("debian-%s-%x", suite, h.Sum(nil)[:6])
}

func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking the cache: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the cache %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// A maker makes roots in a folder of its own.
type maker struct {
	dir     string
	suite   string
	sources string
	log     io.Writer
}

func newMaker(ctx context.Context, suite string, opt Options) (*maker, error) {
	m := &maker{suite: suite, log: opt.Log}
	if m.log == nil {
		m.log = io.Discard
	}
	var err error
	if m.sources, err = aptSources(ctx, pockets(suite, opt.Released)); err != nil {
		return nil, err
	}
	aptOpts, err := aptOptions(ctx)
	if err != nil {
		return nil, err
	}
	if m.dir, err = os.MkdirTemp(opt.CacheDir, newDir); err != nil {
		return nil, err
	}
	// Proxies may have passwords: MkdirTemp keeps others out.
	if err := os.WriteFile(m.file("apt.conf"), []byte(aptOpts), 0o600); err != nil {
		os.RemoveAll(m.dir)
		return nil, err
	}
	return m, nil
}

func (m *maker) file(name string) string { return filepath.Join(m.dir, name) }

// make builds the first root, installs one more package into a copy of it, and
// writes both as images into a layout whose second one has the difference as a
// layer of its own.
func (m *maker) make(ctx context.Context) error {
	if err := m.root(ctx, "base.tar", packages(), mmdebstrapArgs(m.dir)); err != nil {
		return err
	}
	// The hooks that give a root to mmdebstrap come before those that remove
	// what only this build needs.
	more := append(mmdebstrapArgs(m.dir), hooks...)
	more = append(more, "--variant=custom", "--include="+extraPackage,
		"--setup-hook=tar-in "+m.file("base.tar")+" /", `--setup-hook=rm -rf "$1"/dev/* && mkdir -p "$1/dev/pts" "$1/dev/shm"`)
	if err := m.mmdebstrap(ctx, "more.tar", more); err != nil {
		return err
	}
	return m.writeLayout()
}

// initramfsPackage packs initramfsControl.
func (m *maker) initramfsPackage(ctx context.Context) error {
	if err := os.MkdirAll(m.file("deb/DEBIAN"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(m.file("deb/DEBIAN/control"), []byte(initramfsControl), 0o644); err != nil {
		return err
	}
	_, err := output(exec.CommandContext(ctx, "dpkg-deb", "--root-owner-group", "--build", m.file("deb"), m.file("initramfs.deb")))
	return err
}

// mmdebstrapArgs are the arguments of both runs. The mode is root's for root,
// and a user namespace for everybody else.
func mmdebstrapArgs(dir string) []string {
	args := wholeArgs(dir)
	for _, path := range []string{"doc", "man", "info", "locale", "lintian", "bug"} {
		args = append(args, "--dpkgopt=path-exclude=/usr/share/"+path+"/*")
	}
	return append(args, "--dpkgopt=path-include=/usr/share/doc/*/copyright")
}

// hooks remove what belongs to the build and not to the system: this machine's
// mirrors and proxies, and keys that all devices would share.
var hooks = []string{
	`--customize-hook=rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/apt/sources.list "$1"/etc/apt/apt.conf.d/99mmdebstrap`,
	`--customize-hook=rm -f "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/var/cache/ldconfig/aux-cache`,
}

// wholeArgs are those of a root with all that the packages hold: manuals and
// translations too.
func wholeArgs(dir string) []string {
	return []string{"--mode=auto", "--format=tar", "--skip=output/dev", "--aptopt=" + filepath.Join(dir, "apt.conf"),
		`--aptopt=APT::Install-Recommends "false"`}
}

func (m *maker) mmdebstrap(ctx context.Context, tar string, args []string) error {
	cmd := exec.CommandContext(ctx, "mmdebstrap", append(args, m.suite, m.file(tar), "-")...)
	cmd.Stdin = strings.NewReader(m.sources)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+strconv.Itoa(epoch), "LC_ALL=C.UTF-8")
	if os.Getenv("TMPDIR") == "" {
		// The root is unpacked there: on a disk rather than in memory.
		cmd.Env = append(cmd.Env, "TMPDIR=/var/tmp")
	}
	// It cleans up when it is interrupted, and not when it is killed. What it
	// runs is interrupted too, or it would wait for that.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGINT) }
	said := &lastError{}
	cmd.Stdout, cmd.Stderr = m.log, io.MultiWriter(m.log, said)
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("running mmdebstrap: %w", context.Cause(ctx))
		}
		return fmt.Errorf("running mmdebstrap: %w: %s", err, said)
	}
	return nil
}

// A lastError keeps the last lines that start with "E:".
type lastError struct{ text string }

func (e *lastError) Write(p []byte) (int, error) {
	e.text += string(p)
	if len(e.text) > 16<<10 {
		e.text = e.text[len(e.text)-8<<10:]
	}
	return len(p), nil
}

func (e *lastError) String() string {
	var errs []string
	for line := range strings.Lines(e.text) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "E: "); ok {
			errs = append(errs, s)
		}
	}
	if len(errs) == 0 {
		return lastLine(e.text)
	}
	return strings.Join(errs[max(0, len(errs)-3):], "; ")
}

func (m meta) write(path string) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}
