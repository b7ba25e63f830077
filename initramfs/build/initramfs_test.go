package build_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/initramfs/build"
)

func testOptions(t *testing.T) build.Options {
	return build.Options{
		Init:    []byte("#!init"),
		Release: "6.1.0-test",
		Source: build.FromFS(folder(t, map[string]string{
			"kernel/md/dm-verity.ko.xz": "depends=dm-mod", "kernel/md/dm-mod.ko": "", "kernel/blk/virtio_blk.ko": "",
		})),
		Modules: []string{"?virtio_blk", "dm_verity"},
		Kargs:   "quiet loglevel=3",
		Config:  []byte(`{"keys":[]}`),
		Extra:   map[string][]byte{"/bin/tool": []byte("tool"), "/etc/note": []byte("note")},
	}
}

func make1(t *testing.T, opt build.Options) ([]byte, build.Info) {
	t.Helper()
	var b bytes.Buffer
	info, err := build.Initramfs(&b, opt)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), info
}

func pipe(t *testing.T, in []byte, name string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing; install the Debian package of that name", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = bytes.NewReader(in)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, &stderr)
	}
	return out
}

// TestInitramfsOracle lists the archive with zstd and cpio.
func TestInitramfsOracle(t *testing.T) {
	packed, info := make1(t, testOptions(t))
	raw := pipe(t, packed, "zstd", "-dc")
	if int64(len(packed)) != info.Bytes || int64(len(raw)) != info.RawBytes {
		t.Errorf("Info says %d and %d bytes; got %d and %d", info.Bytes, info.RawBytes, len(packed), len(raw))
	}
	names := strings.Fields(string(pipe(t, raw, "cpio", "-t", "--quiet")))
	want := []string{
		"bin", "bin/tool", "dev", "dev/console", "dev/null", "etc", "etc/abupdate", "etc/abupdate/initramfs.json", "etc/abupdate/kargs",
		"etc/abupdate/kernel", "etc/abupdate/modules", "etc/abupdate/modules.wanted", "etc/initrd-release", "etc/note", "init", "lib", "lib/modules", "lib/modules/6.1.0-test",
		"lib/modules/6.1.0-test/kernel", "lib/modules/6.1.0-test/kernel/blk", "lib/modules/6.1.0-test/kernel/blk/virtio_blk.ko",
		"lib/modules/6.1.0-test/kernel/md", "lib/modules/6.1.0-test/kernel/md/dm-mod.ko", "lib/modules/6.1.0-test/kernel/md/dm-verity.ko",
		"proc", "run", "sys", "sysroot", "tmp", "var",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("cpio -t mismatch (-want +got):\n%s", diff)
	}
	long := string(pipe(t, raw, "cpio", "-tvn", "--quiet"))
	for _, line := range []string{`crw------- 1 0 0 5, 1 .* dev/console`, `crw-rw-rw- 1 0 0 1, 3 .* dev/null`, `-rwxr-xr-x 1 0 0 6 .* init`, `-rwxr-xr-x .* bin/tool`, `-rw-r--r-- .* etc/note`, `drwxr-xr-x 2 0 0 0 .* sysroot`} {
		if !matchLine(long, line) {
			t.Errorf("cpio -tv has no line like %q:\n%s", line, long)
		}
	}
	order := string(pipe(t, raw, "cpio", "-i", "--quiet", "--to-stdout", "etc/abupdate/modules"))
	wanted := string(pipe(t, raw, "cpio", "-i", "--quiet", "--to-stdout", "etc/abupdate/modules.wanted"))
	if want := "?virtio_blk\ndm_verity\n"; wanted != want {
		t.Errorf("modules asked for = %q; want %q", wanted, want)
	}
	wantOrder := "?/lib/modules/6.1.0-test/kernel/blk/virtio_blk.ko\n/lib/modules/6.1.0-test/kernel/md/dm-mod.ko\n/lib/modules/6.1.0-test/kernel/md/dm-verity.ko\n"
	if diff := cmp.Diff(wantOrder, order); diff != "" {
		t.Errorf("load order mismatch (-want +got):\n%s", diff)
	}
}

// matchLine reports whether a line has pattern's words in order; ".*" stands
// for any words.
func matchLine(text, pattern string) bool {
	before, after, _ := strings.Cut(pattern, ".*")
	for line := range strings.Lines(text) {
		line = strings.Join(strings.Fields(line), " ")
		if strings.HasPrefix(line, strings.TrimSpace(before)) && strings.HasSuffix(line, after) {
			return true
		}
	}
	return false
}

func TestInitramfsSameBytes(t *testing.T) {
	first, a := make1(t, testOptions(t))
	second, b := make1(t, testOptions(t))
	if !bytes.Equal(first, second) || a.SHA256 != b.SHA256 {
		t.Error("Initramfs() wrote different bytes for the same input")
	}
	opt := testOptions(t)
	opt.Config = []byte(`{"keys":[1]}`)
	if _, c := make1(t, opt); c.SHA256 == a.SHA256 {
		t.Error("Initramfs() has the same digest for another config")
	}
}

func TestInitramfsRefuses(t *testing.T) {
	for name, change := range map[string]func(*build.Options){
		"no init":          func(o *build.Options) { o.Init = nil },
		"no release":       func(o *build.Options) { o.Release = "" },
		"module missing":   func(o *build.Options) { o.Modules = nil },
		"init given twice": func(o *build.Options) { o.Extra = map[string][]byte{"/init": nil} },
	} {
		opt := testOptions(t)
		change(&opt)
		if _, err := build.Initramfs(&bytes.Buffer{}, opt); err == nil {
			t.Errorf("%s: Initramfs() = nil; want an error", name)
		}
	}
}

// failAfter is a writer that fails at its n-th byte.
type failAfter struct{ n int }

func (f *failAfter) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, fmt.Errorf("no space")
	}
	return len(p), nil
}

func TestInitramfsReportsWriteErrors(t *testing.T) {
	whole, _ := make1(t, testOptions(t))
	for _, n := range slices.Compact([]int{0, len(whole) / 2, len(whole) - 1}) {
		if _, err := build.Initramfs(&failAfter{n}, testOptions(t)); err == nil {
			t.Errorf("Initramfs() to a writer that takes %d of %d bytes = nil; want an error", n, len(whole))
		}
	}
}
