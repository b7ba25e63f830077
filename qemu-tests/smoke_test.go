package qemutests

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/initramfs/build"
	"github.com/abupdate/abupdate/internal/vm"
)

// TestInitramfsBoots is the kernel's word on our cpio, compression and module
// order.
func TestInitramfsBoots(t *testing.T) {
	t.Parallel()
	f := fixture(t)
	g := start(t, vm.Config{Kernel: f.kernel.Image, Initrd: guestInitramfs(t, f), Append: quick})
	b := g.waitBoot()
	t.Logf("userspace after %.1f s", b.Uptime)
	modules := g.run("/init", "cat", "/proc/modules")
	for _, want := range []string{"dm_verity", "squashfs", "overlay", "virtio_blk"} {
		if !strings.Contains(modules, want+" ") {
			t.Errorf("module %s is not loaded; loaded are\n%s", want, modules)
		}
	}
	if got := strings.TrimSpace(g.run("/init", "cat", "/proc/sys/kernel/osrelease")); got != f.kernel.Release {
		t.Errorf("release of the running kernel = %s; want %s", got, f.kernel.Release)
	}
}

// TestSizes keeps abinit and the cloud kernel's initramfs small: the ESP, the
// firmware's loader and the memory of small devices pay for them.
func TestSizes(t *testing.T) {
	t.Parallel()
	const limit = 5_000_000
	f := fixture(t)
	init, err := os.ReadFile(f.bin.Abinit)
	if err != nil {
		t.Fatal(err)
	}
	info, err := build.Initramfs(io.Discard, build.Options{Init: init, Release: f.kernel.Release, Source: build.FromFS(os.DirFS(f.kernel.Modules))})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("abinit %d bytes; initramfs %d bytes, %d unpacked, with %d modules", len(init), info.Bytes, info.RawBytes, len(info.Modules))
	if len(init) > limit || info.Bytes > limit {
		t.Errorf("abinit has %d bytes, the initramfs %d; want at most %d", len(init), info.Bytes, limit)
	}
}
