package health_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/updater/health"
)

const (
	image = "usr/lib/abupdate/health.d/"
	admin = "etc/abupdate/health.d/"
)

// write puts files below a new root: content by path, executable unless it
// begins with "-", a symlink for "-> target".
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case len(text) > 3 && text[:3] == "-> ":
			err = os.Symlink(text[3:], path)
		case len(text) > 0 && text[0] == '-':
			err = os.WriteFile(path, []byte(text[1:]), 0o644)
		default:
			err = os.WriteFile(path, []byte(text), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFind(t *testing.T) {
	type check struct {
		Path     string
		Required bool
		Timeout  time.Duration
		Problem  string
	}
	const minute = time.Minute
	for _, tt := range []struct {
		name  string
		files map[string]string
		opt   health.Options
		want  map[string]check
	}{
		{"no folders", nil, health.Options{}, map[string]check{}},
		{"required and wanted", map[string]string{image + "net": "x", image + "wanted/time": "x"}, health.Options{}, map[string]check{
			"net":  {image + "net", true, minute, ""},
			"time": {image + "wanted/time", false, minute, ""},
		}},
		{"the administrator's takes the image's place", map[string]string{image + "net": "x", admin + "net": "y"}, health.Options{}, map[string]check{
			"net": {admin + "net", true, minute, ""},
		}},
		{"also in the other class", map[string]string{image + "net": "x", admin + "wanted/net": "y"}, health.Options{}, map[string]check{
			"net": {admin + "wanted/net", false, minute, ""},
		}},
		{"in both classes of one folder", map[string]string{image + "net": "x", image + "wanted/net": "y"}, health.Options{}, map[string]check{
			"net": {image + "net", true, minute, ""},
		}},
		{"masked", map[string]string{image + "net": "x", image + "wanted/time": "x", admin + "net": "-> /dev/null", admin + "time": "-> /dev/null"},
			health.Options{}, map[string]check{}},
		{"a symlink to a program", map[string]string{"bin/net": "x", image + "net": "-> ../../../../bin/net"}, health.Options{}, map[string]check{
			"net": {image + "net", true, minute, ""},
		}},
		{"what is no check", map[string]string{image + ".hidden": "x", image + "net~": "x", image + "folder/file": "x"}, health.Options{}, map[string]check{}},
		{"not executable", map[string]string{image + "net": "-x", admin + "wanted/x": "-x"}, health.Options{}, map[string]check{
			"net": {image + "net", true, minute, "it is not an executable file"},
			"x":   {admin + "wanted/x", false, minute, "it is not an executable file"},
		}},
		{"timeouts", map[string]string{
			image + "own":   "#!/bin/sh\n# abupdate-timeout: 5m\n",
			image + "table": "#!/bin/sh\n# abupdate-timeout: 5m\n",
			image + "bin":   "\x7fELF\n# abupdate-timeout: 5m\n",
			image + "wrong": "#!/bin/sh\n# abupdate-timeout: soon\n",
		}, health.Options{Timeout: 2 * minute, Timeouts: map[string]time.Duration{"table": time.Hour}}, map[string]check{
			"own":   {image + "own", true, 5 * minute, ""},
			"table": {image + "table", true, time.Hour, ""},
			"bin":   {image + "bin", true, 2 * minute, ""},
			"wrong": {image + "wrong", true, 2 * minute, ""},
		}},
	} {
		root := write(t, tt.files)
		found, err := health.Find(root, tt.opt)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got, last := map[string]check{}, ""
		for _, c := range found {
			rel, err := filepath.Rel(root, c.Argv[0])
			if err != nil || len(c.Argv) != 1 {
				t.Errorf("%s: arguments %q", tt.name, c.Argv)
			}
			if c.Name <= last {
				t.Errorf("%s: %s comes after %s", tt.name, c.Name, last)
			}
			got[c.Name], last = check{rel, c.Required, c.Timeout, c.Problem}, c.Name
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: checks (-want +got):\n%s", tt.name, diff)
		}
	}
}

// A link that leads nowhere is a check that cannot pass.
func TestFindDanglingLink(t *testing.T) {
	root := write(t, map[string]string{image + "net": "-> /nonexistent/net"})
	found, err := health.Find(root, health.Options{})
	if err != nil || len(found) != 1 || found[0].Problem == "" {
		t.Errorf("Find() = %+v, %v; want one that cannot be run", found, err)
	}
}

func TestFindUnreadable(t *testing.T) {
	root := write(t, map[string]string{"usr/lib/abupdate/health.d": "a file"})
	if found, err := health.Find(root, health.Options{}); err == nil {
		t.Errorf("Find() = %+v; want an error: nobody knows what the checks are", found)
	}
}
