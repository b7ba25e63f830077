package debianimage_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/debianimage"
)

func TestWriteTar(t *testing.T) {
	root := writeTar(t, "boot/vmlinuz-6.1=k", "usr/lib/os-release=ID=debian\n")
	calls := fakeDebian(t, root, root)
	dir := t.TempDir()
	file := filepath.Join(dir, "root.tar")
	opt := debianimage.Options{CacheDir: filepath.Join(dir, "new", "work"), Suite: "forky"}
	if err := debianimage.WriteTar(t.Context(), file, []string{"git", "perl"}, opt); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("WriteTar() wrote %d bytes; want the %d that mmdebstrap made", len(got), len(want))
	}
	told, err := os.ReadFile(calls)
	if err != nil || !strings.Contains(string(told), "--include=git,perl") {
		t.Errorf("mmdebstrap was told %q, %v; want the packages", told, err)
	}
	if left, err := os.ReadDir(opt.CacheDir); err != nil || len(left) != 0 {
		t.Errorf("left in the folder to work in: %v, %v; want nothing", left, err)
	}

	t.Setenv("FAKE_FAILURE", "no such package")
	gone := filepath.Join(dir, "other.tar")
	if err := debianimage.WriteTar(t.Context(), gone, []string{"gti"}, opt); err == nil || !strings.Contains(err.Error(), "no such package") {
		t.Errorf("WriteTar() of what mmdebstrap cannot make = %v; want what it said", err)
	}
	if _, err := os.Stat(gone); err == nil {
		t.Error("a root that could not be made left a file")
	}
}
