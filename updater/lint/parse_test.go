package lint_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/updater/lint"
)

func TestTmpfiles(t *testing.T) {
	links := map[string]string{"opt": "var/opt", "home": "/var/home", "var/link": "/elsewhere"}
	for _, tt := range []struct {
		line  string
		made  []string
		globs []string
	}{
		{"d /var/lib/a 0755 root root - -", []string{"var/lib/a"}, nil},
		{"D! %S/b", []string{"var/lib/b"}, nil},
		{"q\t%C//c/", []string{"var/cache/c"}, nil},
		{"v %L/100%%", []string{"var/log/100%"}, nil},
		{"d /opt/x", []string{"var/opt/x"}, nil},
		{"d /home", []string{"home"}, nil},
		{"L /var/link - - - - /x", []string{"var/link"}, nil},
		{`d "/var/lib/with space" -`, []string{"var/lib/with space"}, nil},
		{`f '/var/lib/single quoted'`, []string{"var/lib/single quoted"}, nil},
		{`f /var/lib/a\x20b`, []string{"var/lib/a b"}, nil},
		{"d /var/lib/%m/x", nil, []string{"var/lib/*/x"}},
		{"e /var/lib/e 0755 - - 1d", nil, nil},
		{"r! /var/lib/r", nil, nil},
		{"x /var/lib/x", nil, nil},
		{"# d /var/lib/comment", nil, nil},
		{"d relative", nil, nil},
		{"d", nil, nil},
		{"d /var/lib/percent%", nil, nil},
		{"", nil, nil},
	} {
		made, globs := lint.TmpfilesMade(tt.line, links)
		if diff := cmp.Diff(tt.made, made); diff != "" {
			t.Errorf("%q makes (-want +got):\n%s", tt.line, diff)
		}
		if diff := cmp.Diff(tt.globs, globs); diff != "" {
			t.Errorf("%q makes globs (-want +got):\n%s", tt.line, diff)
		}
	}
}

// systemd-tmpfiles makes what we say it makes.
func TestTmpfilesAgainstSystemd(t *testing.T) {
	const list = `d /var/lib/a 0755 - - -
d "/var/lib/with space" - - - -
f /var/lib/a/f - - - - some text
D! /var/lib/boot - - - 10d
v /var/lib/c//
q	/var/lib/tab
L /var/lib/l - - - - /usr/share/x
L+ /var/lib/l2 - - - - ../foo
C /var/lib/copied - - - - /usr/share/factory/src
p+ /var/lib/fifo
e /var/lib/e 0755 - - -
r /var/lib/r
w /var/lib/w - - - - foo
f+ /var/cache/fplus - - - - s
#d /var/lib/comment
  d /var/lib/indented
d /var/lib/percent%%x
d '/var/lib/single quoted'
d /opt/app
`
	root := t.TempDir()
	for name, content := range map[string]string{
		"usr/lib/tmpfiles.d/x.conf": list, "etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": "root:x:0:\n",
		"usr/share/factory/src/y": "y", "var/opt/.keep": "",
	} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("var/opt", filepath.Join(root, "opt")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-tmpfiles", "--root="+root, "--create", "--boot").CombinedOutput(); err != nil {
		t.Fatalf("systemd-tmpfiles (Debian package systemd): %v: %s", err, out)
	}
	var want []string
	err := filepath.WalkDir(filepath.Join(root, "var"), func(p string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, p)
		want = append(want, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Folders on the way are made too, and C copies what is in its source.
	implied := []string{"var", "var/cache", "var/lib", "var/lib/copied/y", "var/opt", "var/opt/.keep"}
	want = slices.DeleteFunc(want, func(p string) bool { return slices.Contains(implied, p) })
	got, _ := lint.TmpfilesMade(list, map[string]string{"opt": "var/opt"})
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("systemd-tmpfiles makes other files (-systemd +ours):\n%s", diff)
	}
}

// Whatever files hold, Check judges; it does not fail.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{
		bzImage(release), static, dynamic, kernelConfig, modulesDep, "[Unit]\nWants=a \\\n b\n", "d \"/var/%S\\x2", "root:$6$x$y:::\n",
		"UUID=x / ext4", "{\"auths\":{}}", "no-kernel # x",
	} {
		f.Add([]byte(s))
	}
	names := []string{
		"boot/vmlinuz-" + release, "usr/lib/systemd/systemd", "boot/config-" + release, modules + "/modules.dep", modules + "/modules.builtin",
		markGood, "usr/lib/tmpfiles.d/x.conf", "etc/shadow", "etc/passwd", "etc/fstab", "root/.docker/config.json", lint.IgnorePath, "usr/lib/os-release",
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tree := debian.with(nil)
		for _, name := range names {
			tree[name] = strings.TrimPrefix(string(b), "-> ") + "\n"
		}
		if _, err := lint.Check(t.Context(), tree.image(), options()); err != nil {
			t.Error(err)
		}
	})
}
