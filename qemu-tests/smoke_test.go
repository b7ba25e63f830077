package qemutests

import (
	"strings"
	"testing"

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
