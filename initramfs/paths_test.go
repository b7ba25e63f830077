package initramfs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/initramfs"
	"github.com/abupdate/abupdate/internal/blockdev"
)

func TestResolveStaysInRoot(t *testing.T) {
	root := t.TempDir()
	image{
		"sbin":                    "-> usr/sbin",
		"usr/sbin/init":           "-> /lib/systemd/systemd",
		"lib":                     "-> usr/lib",
		"usr/lib/systemd/init":    "-> systemd",
		"usr/lib/systemd/systemd": "#!",
		"up":                      "-> ../../../../etc",
		"etc/x":                   "",
		"loop":                    "-> /loop2",
		"loop2":                   "-> loop",
		"self":                    "-> self/self",
		"out":                     "-> /etc/x/../../usr",
	}.put(t, root)
	for _, tt := range []struct{ name, want string }{
		{"/sbin/init", "usr/lib/systemd/systemd"},
		{"sbin/init", "usr/lib/systemd/systemd"},
		{"/usr/lib/systemd/init", "usr/lib/systemd/systemd"},
		{"/up/x", "etc/x"},
		{"/../../etc/x", "etc/x"},
		{"/", ""},
		{"/sbin/new/file", "usr/sbin/new/file"},
		{"/out/lib", "usr/lib"},
	} {
		got, err := initramfs.Resolve(root, tt.name)
		if want := filepath.Join(root, tt.want); err != nil || got != want {
			t.Errorf("resolve(%s) = %s, %v; want %s", tt.name, got, err, want)
		}
	}
	for _, name := range []string{"/loop", "/self/x"} {
		if got, err := initramfs.Resolve(root, name); err == nil {
			t.Errorf("resolve(%s) = %s; want an error", name, got)
		}
	}
}

func FuzzResolve(f *testing.F) {
	f.Add("/sbin/init", "../../x", "/a/b")
	f.Add("a/../../../..", "/", ".")
	f.Fuzz(func(t *testing.T, name, link1, link2 string) {
		root := t.TempDir()
		for link, target := range map[string]string{"a": link1, "b": link2} {
			if os.Symlink(target, filepath.Join(root, link)) != nil {
				return // not what a link can say
			}
		}
		got, err := initramfs.Resolve(root, name)
		if err == nil && got != root && !strings.HasPrefix(got, root+"/") {
			t.Errorf("resolve(%q) = %q, out of %q", name, got, root)
		}
	})
}

func TestFindProgram(t *testing.T) {
	root := t.TempDir()
	image{"bin/dir/": "", "bin/ok": "#!", "bin/plain": "", "bin/link": "-> /bin/ok", "bin/dead": "-> /nowhere"}.put(t, root)
	if err := os.Chmod(filepath.Join(root, "bin/plain"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ names, want string }{
		{"/bin/dir /bin/plain /bin/dead /bin/gone /bin/link /bin/ok", "/bin/link"},
		{"/bin/ok", "/bin/ok"},
		{"/bin/dir", ""},
		{"", ""},
	} {
		if got := initramfs.FindProgram(root, strings.Fields(tt.names)...); got != tt.want {
			t.Errorf("findProgram(%s) = %q; want %q", tt.names, got, tt.want)
		}
	}
}

func TestDecodeEFIString(t *testing.T) {
	for _, tt := range []struct{ raw, want string }{
		{"\x06\x00\x00\x00A\x00b\x00-\x001\x00\x00\x00", "ab-1"},
		{"\x06\x00\x00\x00A\x00", "a"},
		{"\x06\x00\x00\x00A", ""},
		{"\x06\x00\x00\x00\xe4\x00", ""},
		{"\x06\x00\x00\x00A\x01", ""},
		{"\x06\x00", ""},
		{"", ""},
	} {
		if got := initramfs.DecodeEFIString([]byte(tt.raw)); got != tt.want {
			t.Errorf("decodeEFIString(%q) = %q; want %q", tt.raw, got, tt.want)
		}
	}
}

func TestProbe(t *testing.T) {
	const size = 8 << 20
	for _, tt := range []struct {
		name  string
		fill  func(dev blockdev.Device) error
		kind  string
		size  int64
		clean bool
	}{
		{"zeros", func(blockdev.Device) error { return nil }, "blank", 0, false},
		{"ext4", func(d blockdev.Device) error { return putSuperblock(d, "ext4") }, "ext4", size, true},
		{"btrfs", func(d blockdev.Device) error { return putSuperblock(d, "btrfs") }, "btrfs", size, false},
		{"one byte in the first MiB", func(d blockdev.Device) error { return write(d, 1<<20-1, "x") }, "something unknown", 0, false},
		{"data behind the first MiB only", func(d blockdev.Device) error { return write(d, 1<<20, "x") }, "blank", 0, false},
		{"LUKS", func(d blockdev.Device) error { return write(d, 0, "LUKS\xba\xbe") }, "a LUKS volume", 0, false},
	} {
		dev := blockdev.NewMemory(make([]byte, size))
		if err := tt.fill(dev); err != nil {
			t.Fatal(err)
		}
		kind, n, clean, err := initramfs.ProbeKind(dev)
		if err != nil || kind != tt.kind || n != tt.size || clean != tt.clean {
			t.Errorf("%s: probe() = %s, %d bytes, clean %v, %v; want %s, %d, %v", tt.name, kind, n, clean, err, tt.kind, tt.size, tt.clean)
		}
	}
}

// What mkfs.ext4 really writes is recognized, with its size; the sizes are
// those of 1 KiB and 4 KiB blocks, with and without the 64bit feature.
func TestProbeAgainstMkfs(t *testing.T) {
	mkfs := tool(t, "mkfs.ext4", "e2fsprogs")
	for _, args := range []string{"-b 1024", "-b 4096", "-b 4096 -O 64bit", "-b 4096 -O ^64bit"} {
		path := filepath.Join(t.TempDir(), "fs")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 32<<20); err != nil {
			t.Fatal(err)
		}
		run(t, mkfs, append(strings.Fields(args), "-q", "-F", path)...)
		dev, err := blockdev.Open(path, blockdev.ReadOnly)
		if err != nil {
			t.Fatal(err)
		}
		defer dev.Close()
		kind, size, clean, err := initramfs.ProbeKind(dev)
		if err != nil || kind != "ext4" || size != 32<<20 || !clean {
			t.Errorf("mkfs.ext4 %s: probe() = %s, %d bytes, clean %v, %v; want ext4, %d, clean", args, kind, size, clean, err, 32<<20)
		}
	}
}

func write(d blockdev.Device, off int64, text string) error {
	_, err := d.WriteAt([]byte(text), off)
	return err
}
