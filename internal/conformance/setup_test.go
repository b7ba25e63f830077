package conformance_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/testimage"
)

// debianPackages says where the tools come from.
var debianPackages = map[string]string{
	"umoci": "umoci", "skopeo": "skopeo", "unsquashfs": "squashfs-tools", "veritysetup": "cryptsetup-bin",
	"mount": "mount", "umount": "mount", "dpkg-deb": "dpkg",
}

// tool finds a program, also where an ordinary user's PATH does not look.
func tool(name string) (string, error) {
	for _, file := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if path, err := exec.LookPath(file); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is missing: install the Debian package %s", name, debianPackages[name])
}

// command prepares a tool with an environment that does not depend on who
// runs the tests where.
func command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	path, err := tool(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	return cmd, nil
}

// run runs a tool and returns what it printed.
func run(ctx context.Context, name string, args ...string) (string, error) {
	cmd, err := command(ctx, name, args...)
	if err != nil {
		return "", err
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("running %s %s: %w: %s%s", name, strings.Join(args, " "), err, stderr.String(), out)
	}
	return string(out), nil
}

// must runs a tool that has to succeed.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := run(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// program is the path of the abupdate that is tested.
var program = sync.OnceValues(func() (string, error) {
	bin, err := testimage.BuildBinaries(context.Background())
	return bin.Abupdate, err
})

// abupdate prepares a run of the program.
func abupdate(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "TMPDIR="+scratch(t))
	return cmd
}

// scratch is a new folder on a disk: roots are too large for a /tmp in memory.
func scratch(t *testing.T) string {
	t.Helper()
	parent := os.Getenv("TMPDIR")
	if parent == "" {
		parent = "/var/tmp"
	}
	dir, err := os.MkdirTemp(parent, "abupdate-conformance-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remove(dir); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	return dir
}

// remove removes a tree, also an ordinary user's with folders that nobody may
// write to.
func remove(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// privileged says whether this process may mount, and give files away.
var privileged = sync.OnceValue(func() bool {
	if os.Geteuid() != 0 {
		return false
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	const needed = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_MKNOD | 1<<unix.CAP_CHOWN
	return data[0].Effective&needed == needed
})
