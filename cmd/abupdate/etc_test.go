package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/initramfs/etc"
	"github.com/abupdate/abupdate/updater"
)

// changedEtc is a folder of changes: of two files, one of which the second
// image has otherwise too, and a new one.
func changedEtc(t *testing.T) string {
	t.Helper()
	dir, lower := t.TempDir(), t.TempDir()
	s := etc.Store{Path: dir, Sync: func() error { return nil }}
	write := func(root, name, text string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"a.conf": "1", "b.conf": "1"} {
		write(lower, name, text)
	}
	boot := func(image string) {
		if _, err := s.Reconcile(lower, image); err != nil {
			t.Fatal(err)
		}
	}
	boot("one")
	for name, text := range map[string]string{"a.conf": "mine", "b.conf": "mine", "c.conf": "mine"} {
		write(s.Upper(), name, text)
	}
	write(lower, "a.conf", "2")
	boot("two")
	return dir
}

func TestEtc(t *testing.T) {
	dir := changedEtc(t)
	out := must(t, "etc", "diff", "--dir", dir)
	for _, want := range []string{"changed  /etc/a.conf  conflict: the image changed it too\n", "changed  /etc/b.conf\n", "added    /etc/c.conf\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("etc diff printed\n%s\nwant %q", out, want)
		}
	}
	must(t, "etc", "accept", "/etc/a.conf", "--dir", dir)
	if out := must(t, "etc", "diff", "--dir", dir); strings.Contains(out, "conflict") {
		t.Errorf("etc diff after accept:\n%s", out)
	}
	must(t, "etc", "revert", "b.conf", "--dir", dir)
	if out := must(t, "etc", "diff", "--dir", dir, "--json"); !strings.Contains(out, `{"path":"b.conf","change":"changed","conflict":false}`) {
		t.Errorf("etc diff --json printed %s", out)
	}
	must(t, "etc", "accept", "/etc/b.conf", "--dir", dir) // in no conflict: it stays anyway
	unlock, err := updater.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	for _, order := range []string{"accept", "revert"} {
		if code, _, errs := abupdate(t, "etc", order, "a.conf", "--dir", dir); code != 8 || !strings.Contains(errs, "another abupdate is running") {
			t.Errorf("etc %s beside another = %d, %q; want 8", order, code, errs)
		}
	}
	must(t, "etc", "diff", "--dir", dir)
	unlock()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"etc", "diff", "--dir", t.TempDir()}, "keeps no changes in /etc"},
		{[]string{"etc", "accept", "--dir", dir}, "no PATH given"},
		{[]string{"etc", "accept", "d.conf", "--dir", dir}, "/etc/d.conf is not changed"},
		{[]string{"etc", "revert", "/usr/lib/x", "--dir", dir}, "/usr/lib/x is not a path in /etc"},
		{[]string{"etc", "revert", "../x", "--dir", dir}, "../x is not a path in /etc"},
		{[]string{"etc", "merge"}, "unknown command"},
	} {
		code, _, errs := abupdate(t, tt.args...)
		if code != 2 || !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("abupdate %s = %d, %q; want 2 and one line with %q", strings.Join(tt.args, " "), code, errs, tt.want)
		}
	}
}
