package testimage_test

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/abupdate/abupdate/internal/testimage"
)

func TestKernelPackage(t *testing.T) {
	tests := []struct{ name, depends, want string }{
		{"one dependency", "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n", "linux-image-6.1.0-56-cloud-amd64"},
		{"alternatives: the first", "m\n |Depends: linux-image-6.12.1-cloud-amd64\n  Depends: linux-image-6.12.1-cloud-amd64-unsigned\n", "linux-image-6.12.1-cloud-amd64"},
		{"virtual, with its provider", "m\n  Depends: <linux-image-6.12-virtual>\n    linux-image-6.12.9-cloud-amd64\n", "linux-image-6.12-virtual"},
		{"a real one before a virtual one", "m\n |Depends: <linux-image-6.1-virtual>\n  Depends: linux-image-6.1.0-1-cloud-amd64\n", "linux-image-6.1.0-1-cloud-amd64"},
		{"other dependencies first", "m\n  PreDepends: dpkg\n  Depends: initramfs-tools\n  Depends: linux-image-6.1.0-1-cloud-arm64\n  Suggests: linux-image-9\n", "linux-image-6.1.0-1-cloud-arm64"},
		{"nothing", "", ""},
		{"not known", "N: Unable to locate package m\n", ""},
	}
	for _, tt := range tests {
		got, err := testimage.KernelPackage(tt.depends)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: KernelPackage() = %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

// fakeKernel is a folder as dpkg-deb unpacks it, with every module built in.
func fakeKernel(t *testing.T) *testimage.Kernel {
	t.Helper()
	dir := t.TempDir()
	builtin := ""
	for _, m := range []string{"virtio_console", "virtio_net", "dm-mod", "dm-verity", "squashfs", "overlay"} {
		builtin += "kernel/" + m + ".ko\n"
	}
	k := &testimage.Kernel{Release: "6.1.0-test", Image: filepath.Join(dir, "vmlinuz"), Modules: dir}
	for name, data := range map[string]string{k.Image: "kernel", filepath.Join(dir, "modules.builtin"): builtin} {
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func newSet(t *testing.T) *testimage.Set {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := testimage.New(fakeKernel(t), testimage.Binaries{Abupdate: program, Guest: program})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// files flattens an image naively: enough for layers without whiteouts.
func files(t *testing.T, img v1.Image) map[string]*tar.Header {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]*tar.Header{}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got[strings.TrimSuffix(h.Name, "/")] = h
		}
		r.Close()
	}
	return got
}

func TestWriteLayout(t *testing.T) {
	s, dir := newSet(t), t.TempDir()
	v1Image := testimage.Variant{Tag: "v1"}
	v2Image := testimage.Variant{Tag: "v2", Version: "2.0", Mode: testimage.Panics,
		Files: map[string]string{"/etc/note": "x", "opt/bin/tool": "y", "/srv/empty/": ""}, Remove: []string{"/boot"}}
	if err := s.WriteLayout(dir, v1Image, v2Image); err != nil {
		t.Fatal(err)
	}
	idx, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx); err != nil {
		t.Errorf("layout is not valid: %v", err)
	}
	img, err := s.Image(v2Image)
	if err != nil {
		t.Fatal(err)
	}
	got := files(t, img)
	for name, mode := range map[string]int64{
		"usr/sbin/init": 0o755, "usr/bin/abupdate": 0o755, "usr/bin/guest": 0o755, "usr/sbin/mke2fs": 0o755, "usr/sbin/mkfs.ext4": 0o777,
		"usr/lib/modules/6.1.0-test/vmlinuz": 0o644, "etc/note": 0o644, "opt/bin/tool": 0o755, "srv/empty": 0o755, ".wh.boot": 0o644,
		"var/tmp": 0o1777, "usr/lib64/ld-linux-x86-64.so.2": 0o755,
	} {
		if h := got[name]; h == nil || h.Mode != mode {
			t.Errorf("%s in the image = %+v; want mode %o", name, h, mode)
		}
	}
	libc := false
	for name, h := range got {
		libc = libc || strings.HasSuffix(name, "/libc.so.6") && h.Size > 1<<20
	}
	if !libc {
		t.Error("the image has no libc for e2fsprogs")
	}
	cf, err := img.ConfigFile()
	if err != nil || cf.Config.Labels["org.opencontainers.image.version"] != "2.0" {
		t.Errorf("labels = %v, %v; want version 2.0", cf.Config.Labels, err)
	}
}

func TestSameBytes(t *testing.T) {
	v := testimage.Variant{Tag: "v1", Files: map[string]string{"a": "1", "b": "2", "c/d": "3"}}
	var got [2]v1.Hash
	for i := range got {
		img, err := newSet(t).Image(v)
		if err == nil {
			got[i], err = img.Digest()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got[0] != got[1] {
		t.Errorf("two builds of one image have digests %v and %v", got[0], got[1])
	}
}

func TestCacheDir(t *testing.T) {
	t.Setenv("ABUPDATE_CACHE", "/some/where")
	if got, err := testimage.CacheDir(); got != "/some/where" || err != nil {
		t.Errorf("CacheDir() = %s, %v; want the variable's", got, err)
	}
	t.Setenv("ABUPDATE_CACHE", "")
	got, err := testimage.CacheDir()
	if err != nil || filepath.Base(got) != ".cache" {
		t.Fatalf("CacheDir() = %s, %v; want the repository's .cache", got, err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(got), "go.mod")); err != nil {
		t.Errorf("CacheDir() = %s, which is not beside go.mod", got)
	}
}
