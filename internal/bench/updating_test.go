package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A web counts the bodies that it gives, file by file.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "blob"), []byte("0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	w, err := serve(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	for _, tt := range []struct{ span, want string }{{"", "0123456789"}, {"bytes=2-4", "234"}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.address+"/blob", nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.span != "" {
			req.Header.Set("Range", tt.span)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(got) != tt.want {
			t.Errorf("range %q gives %q, %v; want %q", tt.span, got, err, tt.want)
		}
	}
	if diff := cmp.Diff(map[string]traffic{"blob": {2, 13}}, w.take(), cmp.AllowUnexported(traffic{})); diff != "" {
		t.Errorf("take() (-want +got):\n%s", diff)
	}
	if again := w.take(); len(again) != 0 {
		t.Errorf("take() after take() = %v; want nothing", again)
	}
}

func writeRootOf(t *testing.T, file string, members map[string]string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tw := tar.NewWriter(f)
	for name, text := range members {
		h := &tar.Header{Name: "./" + name, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(text))}
		if err := writeMember(tw, h, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
}

// The third version is the second, with the C library of the first, a program
// and a file.
func TestFinish(t *testing.T) {
	u := &upgrade{dir: t.TempDir()}
	const status = "var/lib/dpkg/status"
	writeRootOf(t, u.tar(released), map[string]string{
		libc: "old library", status: "Package: a\nVersion: 1\n\nPackage: b\nVersion: 1\n\nPackage: gone\nVersion: 1\n"})
	writeRootOf(t, u.tar(upgraded), map[string]string{
		libc: "a new library", "etc/x": "x", status: "Package: a\nVersion: 1\n\nPackage: b\nVersion: 2\n\nPackage: new\nVersion: 1\n"})
	if err := u.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if u.Packages != 3 || u.Changed != 2 {
		t.Errorf("%d packages, %d of them changed; want 3, 2", u.Packages, u.Changed)
	}
	sizes := make(map[string]int64)
	err := eachMember(u.tar(patched), func(h *tar.Header, r io.Reader) error {
		sizes[strings.TrimPrefix(h.Name, "./")] = h.Size
		return nil
	})
	delete(sizes, status)
	want := map[string]int64{libc: int64(len("old library")), "etc/x": 1, "usr/bin/large-program": 19e6, "etc/large-program.conf": int64(len("new = true\n"))}
	if diff := cmp.Diff(want, sizes); err != nil || diff != "" {
		t.Errorf("third version: %v, sizes (-want +got):\n%s", err, diff)
	}
	for _, version := range []string{released, upgraded, patched} {
		if _, err := os.Stat(filepath.Join(u.dir, "images-"+version, "index.json")); err != nil {
			t.Error(err)
		}
	}
}

// Blocks that stood anywhere in the old image are not new, and those that
// follow each other come in one request.
func TestStockBlocks(t *testing.T) {
	b := &bench{work: t.TempDir()}
	image := func(version, blocks string) {
		var text strings.Builder
		for _, c := range blocks {
			text.WriteString(strings.Repeat(string(c), block))
		}
		if err := os.WriteFile(b.in("stock-"+version+".squashfs"), []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	image("old", "abcd")
	image("new", "dxyaz")
	got, err := b.stockBlocks(context.Background(), "old", "new")
	want := usage{Size: 5 * block, Fetched: 3 * block, Ranges: 2}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("stockBlocks() error %v (-want +got):\n%s", err, diff)
	}
	var sums int
	if err := eachBlock(b.in("stock-new.squashfs"), func([sha256.Size]byte) { sums++ }); err != nil || sums != 5 {
		t.Errorf("eachBlock() gave %d, %v; want 5", sums, err)
	}
}

// An update's image is found by its tag.
func TestSquashfsOf(t *testing.T) {
	dir := t.TempDir()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		filepath.Join(dir, "index.json"): `{"manifests":[{"digest":"sha256:aa","annotations":{"org.opencontainers.image.ref.name":"one"}},` +
			`{"digest":"sha256:bb","annotations":{"org.opencontainers.image.ref.name":"two"}}]}`,
		filepath.Join(blobs, "bb"): `{"layers":[{"mediaType":"application/vnd.abupdate.verity.v1","digest":"sha256:cc","size":1},` +
			`{"mediaType":"application/vnd.abupdate.squashfs.v1","digest":"sha256:dd","size":7}]}`,
		filepath.Join(blobs, "aa"): `{"layers":[]}`,
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if blob, size, err := squashfsOf(dir, "two"); blob != "dd" || size != 7 || err != nil {
		t.Errorf("squashfsOf(two) = %q, %d, %v; want dd, 7", blob, size, err)
	}
	for _, version := range []string{"one", "three"} {
		if _, _, err := squashfsOf(dir, version); err == nil {
			t.Errorf("squashfsOf(%s) = nil error", version)
		}
	}
}
