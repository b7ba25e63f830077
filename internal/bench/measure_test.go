package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMeasure(t *testing.T) {
	ballast := make([]byte, 300<<20) // what this program takes must not count
	for i := 0; i < len(ballast); i += 4096 {
		ballast[i] = 1
	}
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	if err := os.WriteFile(in, []byte("something"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		script string
		rss    [2]int64 // between
		cpu    bool     // more than nothing
	}{
		{"small", "read line; [ $line = something ] && [ $TMPDIR = " + dir + " ]", [2]int64{1 << 20, 60 << 20}, false},
		// A child of a child, that is large and busy.
		{"large", "(head -c 400000000 /dev/zero | wc -c; dd if=/dev/zero of=/dev/null bs=100M count=3)", [2]int64{100 << 20, 200 << 20}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := measure(t.Context(), command{args: []string{"sh", "-c", tt.script}, stdin: in, tmpdir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if u.RSS < tt.rss[0] || u.RSS > tt.rss[1] {
				t.Errorf("peak memory = %d; want %d to %d", u.RSS, tt.rss[0], tt.rss[1])
			}
			if u.Wall <= 0 || u.CPU < 0 || tt.cpu && u.CPU == 0 {
				t.Errorf("measured %v s, %v CPU s; want more than nothing", u.Wall, u.CPU)
			}
		})
	}
	if ballast[4096] != 1 {
		t.Error("never: it keeps the ballast until here")
	}
}

func TestMeasureFails(t *testing.T) {
	for script, want := range map[string]string{
		"echo not this way >&2; exit 3": "not this way",
		"kill -9 $$":                    "killed",
	} {
		_, err := measure(t.Context(), command{args: []string{"sh", "-c", script}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("measure(%s) = %v; want an error with %q", script, err, want)
		}
	}
	if _, err := measure(t.Context(), command{args: []string{"/none/such"}}); err == nil {
		t.Error("measure() of a program that is not there gives no error")
	}
	if _, err := measure(t.Context(), command{args: []string{"true"}, stdin: "/none/such"}); err == nil {
		t.Error("measure() with an input that is not there gives no error")
	}
}

// What was there and is gone again counts, with a name or without one.
func TestMeasureDisk(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name, script string
		want         int64
	}{
		{"nothing", "sleep 0.3", 0},
		{"kept", "head -c 1000000 /dev/zero > $TMPDIR/a; sync $TMPDIR/a", 1e6},
		{"removed", "head -c 4000000 /dev/zero > $TMPDIR/b; sync $TMPDIR/b; sleep 1; rm $TMPDIR/b", 5e6},
		{"without a name", "exec 5> $TMPDIR/c; rm $TMPDIR/c; head -c 8000000 /dev/zero >&5; sync; sleep 1", 9e6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := measureDisk(t.Context(), command{args: []string{"sh", "-c", tt.script}, tmpdir: dir}, dir)
			if err != nil {
				t.Fatal(err)
			}
			const slack = 100 << 10 // blocks of the file system
			if u.Disk < tt.want || u.Disk > tt.want+slack {
				t.Errorf("most on disk = %d; want %d", u.Disk, tt.want)
			}
		})
	}
}

func TestSessionOf(t *testing.T) {
	for stat, want := range map[string]int{
		"12 (sh) S 1 11 10 0 -1 4194560":   10,
		"12 (a) 9) S 1 11 10 0 -1 4194560": 10,
		"12 (sh) S 1":                      -1,
		"":                                 -1,
		"12 (sh) S 1 2 x":                  -1,
	} {
		if got := sessionOf(stat); got != want {
			t.Errorf("sessionOf(%q) = %d; want %d", stat, got, want)
		}
	}
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	want, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	if got := sessionOf(string(own)); got != want {
		t.Errorf("sessionOf(this process) = %d; want %d", got, want)
	}
}

func TestTail(t *testing.T) {
	var s tail
	for range 3000 {
		s.Write([]byte("x"))
	}
	s.Write([]byte("end\n"))
	if got := s.String(); len(got) >= tailBytes || !strings.HasSuffix(got, "xend") {
		t.Errorf("the tail has %d bytes and ends in %q", len(got), got[len(got)-4:])
	}
}

// The figures of two programs are compared, so both must take the same tar.
func TestTar2sqfs(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "root.tar"), filepath.Join(dir, "root.squashfs")
	writeRoot(t, in)
	b := &bench{fixture: &fixture{dir: dir}, work: dir, abupdate: "/bin/abupdate"}
	if _, err := b.self(t.Context(), "tar2sqfs", in, out); err != nil {
		t.Fatal(err)
	}
	n, err := bytesUsed(out)
	if err != nil || n < 100 {
		t.Errorf("bytesUsed = %d, %v; want some", n, err)
	}
	list, err := exec.Command("unsquashfs", "-lls", "-n", out).CombinedOutput()
	if err != nil {
		t.Fatalf("unsquashfs (Debian package squashfs-tools): %v: %s", err, list)
	}
	for _, want := range []string{"-rwsr-xr-x", "squashfs-root/bin/su", "squashfs-root/bin/link", "lrwxrwxrwx", "-> su", "crw-rw-rw-"} {
		if !strings.Contains(string(list), want) {
			t.Errorf("the image has no %q:\n%s", want, list)
		}
	}
	if got := b.commands.list; len(got) != 1 || got[0] != "bench tar2sqfs $WORK/root.squashfs < $WORK/root.tar" {
		t.Errorf("told command = %q", got)
	}
}

func TestSuperblock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	for _, content := range []string{"", "hsqs", strings.Repeat("x", 200)} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if n, err := bytesUsed(file); err == nil {
			t.Errorf("bytesUsed(%q) = %d; want an error", content, n)
		}
	}
}

// The tree is that of veritysetup, or there would be nothing to compare.
func TestVerityMode(t *testing.T) {
	dir := t.TempDir()
	data, tree := filepath.Join(dir, "data"), filepath.Join(dir, "tree")
	if err := os.WriteFile(data, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	b := &bench{fixture: &fixture{dir: dir}, work: dir, abupdate: "/bin/abupdate"}
	if _, err := b.self(t.Context(), "verity", "", data, tree); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("veritysetup", "dump", tree).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "sha256") {
		t.Errorf("veritysetup dump (Debian package cryptsetup-bin): %v: %s", err, out)
	}
}
