package initramfs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/abupdate/abupdate/initramfs"
)

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	for _, size := range []int{0, 1, 4095, 4096, 4097, 1 << 20} {
		want := bytes.Repeat([]byte("abcdefg"), size/7+1)[:size]
		name := filepath.Join(dir, "file")
		if err := os.WriteFile(name, want, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := initramfs.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("readFile of %d bytes: %d bytes, %v", size, len(got), err)
		}
	}
	want, err := os.ReadFile("/proc/self/mountinfo") // has no size, and comes in pieces
	if err != nil {
		t.Fatal(err)
	}
	if got, err := initramfs.ReadFile("/proc/self/mountinfo"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("readFile of the mounts: %d bytes, %v; want %d", len(got), err, len(want))
	}
	for _, name := range []string{filepath.Join(dir, "none"), dir} {
		_, err := initramfs.ReadFile(name)
		var path *fs.PathError
		if !errors.As(err, &path) || path.Path != name {
			t.Errorf("readFile(%s) = %v; want an error that names it", name, err)
		}
	}
	if _, err := initramfs.ReadFile(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("readFile of nothing = %v; want ErrNotExist", err)
	}
	if err := fstest.TestFS(initramfs.NewDirFS(dir), "file"); err != nil {
		t.Error(err)
	}
}
