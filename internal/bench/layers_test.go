package main

import (
	"archive/tar"
	"bytes"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// An upgrade layer has what changed, and whiteouts of what is gone.
func TestUpgradeLayer(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from.tar"), filepath.Join(dir, "to.tar")
	writeRootOf(t, from, map[string]string{"same": "1", "changed": "2", "d/gone": "3", "e/f/gone": "4", "top": "5"})
	writeRootOf(t, to, map[string]string{"same": "1", "changed": "two", "new": "6", "d": "now a file"})
	var out bytes.Buffer
	if err := upgradeLayer(&out, from, to); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for tr := tar.NewReader(&out); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = string(text)
	}
	want := map[string]string{".wh.top": "", "d/.wh.gone": "", "./changed": "two", "./new": "6", "./d": "now a file"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("upgradeLayer() (-want +got):\n%s", diff)
	}
}

func TestGone(t *testing.T) {
	names := func(names ...string) map[string]fingerprint {
		m := make(map[string]fingerprint)
		for _, n := range names {
			m[n] = fingerprint{}
		}
		return m
	}
	got := gone(names("a", "a/b", "a/b/c", "d", "e", "e/f"), names("d", "e"))
	if want := []string{"a", "e/f"}; !slices.Equal(got, want) {
		t.Errorf("gone() = %q; want %q", got, want)
	}
}
