package debianimage_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/debianimage"
)

func TestCollect(t *testing.T) {
	minimal := []string{"usr/bin/", "usr/bin/gone=x", "usr/bin/kept=y"}
	calls := fakeDebian(t, writeTar(t, minimal...), writeTar(t, "usr/bin/", "usr/bin/kept=y", "usr/bin/htop=htop"))
	opt := debianimage.Options{CacheDir: filepath.Join(t.TempDir(), "cache"), Suite: "forky"}
	want := debianimage.Wanted{Install: []string{"htop", "less"}, Download: map[string][]string{"web": {"nginx", "curl"}}}
	c, err := debianimage.Collect(t.Context(), opt, want)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--variant=minbase", "--variant=custom", "--include=htop,less", "install nginx curl", "sync-out /abupdate-packages "} {
		if !strings.Contains(string(b), want) {
			t.Errorf("mmdebstrap was not told %q", want)
		}
	}
	if mirrors := strings.Index(string(b), "etc/apt/sources.list"); mirrors < strings.Index(string(b), "install nginx") {
		t.Error("packages are fetched when the mirrors are gone already")
	}
	for file, want := range map[string]map[string]string{
		c.Minimal: {"usr/bin": "5644", "usr/bin/gone": "0644x", "usr/bin/kept": "0644y"},
		c.Upper:   {"usr/bin/.wh.gone": "0644", "usr/bin/htop": "0644htop"},
	} {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if diff := cmp.Diff(want, readTar(t, f)); diff != "" {
			t.Errorf("%s mismatch (-want +got):\n%s", filepath.Base(file), diff)
		}
	}

	again, err := debianimage.Collect(t.Context(), opt, want)
	if err != nil {
		t.Fatal(err)
	}
	if b2, err := os.ReadFile(calls); err != nil || len(b2) != len(b) || again.Minimal != c.Minimal {
		t.Errorf("mmdebstrap was called again, with all in the cache (%v)", err)
	}
	want.Install = nil
	if other, err := debianimage.Collect(t.Context(), opt, want); err != nil || other.Minimal == c.Minimal {
		t.Errorf("Collect() of something else = %v, %v; want another folder", other, err)
	}
}

func TestDebs(t *testing.T) {
	fakeDebian(t, writeTar(t, "usr/bin/"), writeTar(t, "usr/bin/"))
	c, err := debianimage.Collect(t.Context(), debianimage.Options{CacheDir: t.TempDir(), Suite: "forky"}, debianimage.Wanted{})
	if err != nil {
		t.Fatal(err)
	}
	if debs, err := c.Debs("web"); err == nil {
		t.Errorf("Debs() of a set that nobody wanted = %v; want an error", debs)
	}
	dir := filepath.Join(filepath.Dir(c.Minimal), "sets", "web")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b.deb", "a.deb", "lock"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	debs, err := c.Debs("web")
	if diff := cmp.Diff([]string{filepath.Join(dir, "a.deb"), filepath.Join(dir, "b.deb")}, debs); diff != "" || err != nil {
		t.Errorf("Debs() mismatch (-want +got), %v:\n%s", err, diff)
	}
}
