package debianimage_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/debianimage"
)

// A script runs in the root after its packages are there, and its /out is what
// comes out; nothing is kept.
func TestWithin(t *testing.T) {
	root := writeTar(t, "usr/lib/os-release=ID=debian\n")
	calls := fakeDebian(t, root, root)
	dir, opt := t.TempDir(), debianimage.Options{CacheDir: t.TempDir(), Suite: "forky"}
	within := func() error {
		return debianimage.Within(t.Context(), root, dir, []string{"git", "perl"}, "date > /out/x\n", opt)
	}
	if err := within(); err != nil {
		t.Fatal(err)
	}
	told, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for _, want := range []string{"--include=git,perl", "tar-in " + root + " /", "upload " + filepath.Join(opt.CacheDir, "debian-new-"),
		`chroot "$1" sh /script`, "sync-out /out " + dir, "--format=null"} {
		i := strings.Index(string(told), want)
		if i < last {
			t.Errorf("mmdebstrap was told %q at %d; want it behind %d of\n%s", want, i, last, told)
		}
		last = max(last, i)
	}
	if left, err := os.ReadDir(opt.CacheDir); err != nil || len(left) != 0 {
		t.Errorf("left in the folder to work in: %v, %v; want nothing", left, err)
	}
	t.Setenv("FAKE_FAILURE", "no such package")
	if err := within(); err == nil || !strings.Contains(err.Error(), "no such package") {
		t.Errorf("Within() of what mmdebstrap cannot make = %v; want what it said", err)
	}
}
