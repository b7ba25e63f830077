package debianimage_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/abupdate/abupdate/internal/debianimage"
)

// fakeDebian puts stand-ins for Debian's tools first in PATH. mmdebstrap
// appends its arguments and its sources to the returned file, and "makes" base
// or, when it is to extend a root, more.
func fakeDebian(t *testing.T, base, more string) (calls string) {
	t.Helper()
	dir := t.TempDir()
	calls = filepath.Join(dir, "calls")
	for name, script := range map[string]string{
		"apt-get":    "echo amd64 http://mirror.example/debian/ forky main",
		"apt-config": `echo 'Acquire::http::Proxy "http://proxy.example:1";'`,
		"dpkg-deb":   `for last; do :; done; : > "$last"`,
		"mmdebstrap": `printf '%s\n' "$@" >> ` + calls + `; cat >> ` + calls + `
[ -z "$FAKE_FAILURE" ] || { echo "I: working"; echo "E: $FAKE_FAILURE"; exit 25; } >&2
from=` + base + `; for a; do case $a in --variant=custom) from=` + more + `;; -) cp "$from" "$out";; esac; out=$a; done`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return calls
}

func programs(t *testing.T) debianimage.Binaries {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(bin, []byte("ELF"), 0o755); err != nil {
		t.Fatal(err)
	}
	return debianimage.Binaries{Abupdate: bin, Agent: bin}
}

func TestBuild(t *testing.T) {
	root := []string{"boot/", "boot/vmlinuz-6.1-cloud=kernel", "usr/bin/", "usr/lib/os-release=ID=debian\n", "usr/bin/gone=x"}
	calls := fakeDebian(t, writeTar(t, root...), writeTar(t, append(root[:4:4], "usr/bin/htop=htop")...))
	opt := debianimage.Options{CacheDir: filepath.Join(t.TempDir(), "new", "cache"), Suite: "forky"}
	set, err := debianimage.Build(t.Context(), programs(t), opt)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := set.Kernel, "6.1-cloud"; got != want {
		t.Errorf("Kernel = %q; want %q", got, want)
	}
	b, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--variant=minbase", "--variant=custom", "--include=htop", " http://mirror.example/debian/ forky main"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("mmdebstrap was not told %q", want)
		}
	}

	// A second time nothing is made, and all is the same.
	again, err := debianimage.Build(t.Context(), programs(t), opt)
	if err != nil {
		t.Fatal(err)
	}
	if b2, err := os.ReadFile(calls); err != nil || len(b2) != len(b) {
		t.Errorf("mmdebstrap was called again, with the root in the cache (%v)", err)
	}
	for i, img := range set.Tags() {
		d1, err1 := img.Image.Digest()
		d2, err2 := again.Tags()[i].Image.Digest()
		if d1 != d2 || err1 != nil || err2 != nil {
			t.Errorf("digests of %s are %v (%v) and %v (%v); want the same", img.Tag, d1, err1, d2, err2)
		}
	}
	checkLayout(t, set)
	left, err := os.ReadDir(opt.CacheDir)
	if err != nil || len(left) != 2 {
		t.Errorf("in the cache: %v, %v; want the roots and the lock", left, err)
	}
}

// checkLayout writes the images as a layout and looks at what they hold.
func checkLayout(t *testing.T, set *debianimage.Set) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a", "layout")
	if err := set.WriteLayout(dir); err != nil {
		t.Fatal(err)
	}
	ix, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	man, err := ix.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var tags []string
	for _, m := range man.Manifests {
		tags = append(tags, m.Annotations["org.opencontainers.image.ref.name"])
	}
	if d := cmp.Diff([]string{"v1", "v2", "broken"}, tags); d != "" {
		t.Errorf("tags mismatch (-want +got):\n%s", d)
	}
	layers, err := set.V2.Layers()
	if err != nil || len(layers) != 3 {
		t.Fatalf("v2 has %d layers (%v); want root, package, own", len(layers), err)
	}
	r, err := layers[1].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want := map[string]string{"usr/bin/htop": "0644htop", "usr/bin/.wh.gone": "0644"}
	if d := cmp.Diff(want, readTar(t, r)); d != "" {
		t.Errorf("layer of the package mismatch (-want +got):\n%s", d)
	}
	for img, want := range map[int]string{0: "1", 1: "2", 2: "3"} {
		cfg, err := set.Tags()[img].Image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := cfg.RootFS.Type, "layers"; got != want {
			t.Errorf("rootfs.type of %s = %q; want %q", set.Tags()[img].Tag, got, want)
		}
		if got := cfg.Config.Labels["org.opencontainers.image.version"]; got != want {
			t.Errorf("version of %s = %q; want %q", set.Tags()[img].Tag, got, want)
		}
	}
}

func TestBuildFails(t *testing.T) {
	root := writeTar(t, "boot/vmlinuz-6.1=k", "usr/lib/os-release=ID=debian\n")
	initrd := writeTar(t, "boot/vmlinuz-6.1=k", "boot/initrd.img-6.1=i", "usr/lib/os-release=ID=debian\n")
	tests := []struct {
		name, base, suite, failure string
		want                       string
	}{
		{"mmdebstrap says why", root, "forky", "no such mirror", "no such mirror"},
		{"no source for the suite", root, "sarge", "", "none for Debian sarge"},
		{"an initramfs in the root", initrd, "forky", "", "initrd.img-6.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fakeDebian(t, tt.base, tt.base)
			t.Setenv("FAKE_FAILURE", tt.failure)
			cache := t.TempDir()
			_, err := debianimage.Build(t.Context(), programs(t), debianimage.Options{CacheDir: cache, Suite: tt.suite})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "I: working") {
				t.Errorf("Build() = %v; want an error with %q", err, tt.want)
			}
			if left, err := filepath.Glob(filepath.Join(cache, "debian-*")); err != nil || len(left) != 0 {
				t.Errorf("left in the cache: %v, %v; want nothing", left, err)
			}
		})
	}
}
