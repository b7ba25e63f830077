package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/internal/durable"
)

func TestWriteFile(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(t *testing.T, path string)
	}{
		{"new", func(*testing.T, string) {}},
		{"in place of another", func(t *testing.T, path string) { write(t, path, "much longer than the new one") }},
		{"after one that was cut", func(t *testing.T, path string) { write(t, path+".new", "half") }},
		{"beside a link that leads away", func(t *testing.T, path string) {
			victim := filepath.Join(filepath.Dir(path), "victim")
			write(t, victim, "victim")
			if err := os.Symlink(victim, path+".new"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { want(t, victim, "victim", 0o600) })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			tt.before(t, path)
			if err := durable.WriteFile(path, []byte("new"), 0o640); err != nil {
				t.Fatal(err)
			}
			want(t, path, "new", 0o640)
			if _, err := os.Lstat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what it was written as is left: %v", err)
			}
		})
	}
}

// A failure leaves what was there, and nothing else.
func TestWriteFileFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "folder")
	write(t, filepath.Join(path, "in it"), "kept") // a directory that is not empty cannot be replaced
	if err := durable.WriteFile(path, []byte("new"), 0o644); err == nil {
		t.Error("WriteFile(a directory) = nil")
	}
	want(t, filepath.Join(path, "in it"), "kept", 0o600)
	if names, err := os.ReadDir(dir); len(names) != 1 || err != nil {
		t.Errorf("in the directory are %v, %v; want one", names, err)
	}
	if err := durable.WriteFile(filepath.Join(dir, "none", "file"), nil, 0o644); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WriteFile(in no directory) = %v; want %v", err, fs.ErrNotExist)
	}
}

func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := durable.Create(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.Create(path, []byte("two"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create(what is there) = %v; want %v", err, fs.ErrExist)
	}
	want(t, path, "one", 0o600)
	if err := durable.SyncDir(path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SyncDir(nothing) = %v; want %v", err, fs.ErrNotExist)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, path, text string, perm fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != text {
		t.Errorf("%s holds %q, %v; want %q", path, got, err, text)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != perm {
		t.Errorf("%s: %v, %v; want mode %v", path, st, err, perm)
	}
}
