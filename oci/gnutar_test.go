package oci_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestFlattenGNUTar flattens what the real tar wrote in its own dialects.
func TestFlattenGNUTar(t *testing.T) {
	root := t.TempDir()
	sparse := make([]byte, 3<<20)
	copy(sparse[1<<20:], "island")
	copy(sparse[len(sparse)-4:], "end.")
	writeSparse(t, filepath.Join(root, "sparse"), sparse, 1<<20, len(sparse)-4)
	writeSparse(t, filepath.Join(root, "hole"), make([]byte, 1<<20))
	deep := strings.Repeat("deep/", 30) + strings.Repeat("n", 120)
	writeSparse(t, filepath.Join(root, deep), []byte("x"), 0)
	if err := os.Link(filepath.Join(root, "sparse"), filepath.Join(root, "zlink")); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(stamp, 0)
	for _, name := range []string{"sparse", "hole", deep} {
		if err := os.Chtimes(filepath.Join(root, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{line(found{Entry: regular(deep, 1), content: "x"}),
		line(found{Entry: regular("hole", 1<<20), content: string(make([]byte, 1<<20))}),
		line(found{Entry: regular("sparse", len(sparse)), content: string(sparse)}), "h zlink = sparse"}
	for p := filepath.Dir(deep); p != "."; p = filepath.Dir(p) {
		want = append([]string{"d " + p + " @0"}, want...)
	}
	for _, tt := range []struct{ format, umoci string }{
		{"gnu", "umoci does not know the type of GNU's sparse files"},
		{"oldgnu", "umoci does not know the type of GNU's sparse files"},
		{"pax", ""}, {"posix", ""},
	} {
		for _, version := range []string{"0.0", "0.1", "1.0"} {
			t.Run(tt.format+" "+version, func(t *testing.T) {
				args := []string{"-C", root, "--sparse", "--format=" + tt.format, "--numeric-owner", "--owner=0", "--group=0", "-cf", "-"}
				if tt.umoci == "" {
					args = append(args, "--sparse-version="+version, "--pax-option=delete=atime,delete=ctime")
				}
				out, err := exec.Command("tar", append(args, "sparse", "hole", "zlink", deep)...).Output()
				if err != nil {
					t.Fatalf("tar: %v", err)
				}
				if len(out) > 1<<20 {
					t.Fatalf("tar wrote %d bytes: not sparse", len(out))
				}
				testFlatten(t, flattenRow{want: want, umoci: tt.umoci, noModel: true}, [][]byte{out})
			})
		}
	}
}

// writeSparse makes a file with 4 KiB of data at each offset, holes elsewhere.
func writeSparse(t *testing.T, name string, content []byte, offsets ...int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(len(content))); err != nil {
		t.Fatal(err)
	}
	for _, off := range offsets {
		if _, err := f.WriteAt(content[off:min(off+4096, len(content))], int64(off)); err != nil {
			t.Fatal(err)
		}
	}
}
