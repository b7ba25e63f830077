package qemutests

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/initramfs/build"
	"github.com/abupdate/abupdate/internal/testimage"
)

// kargsFile is where an image has what it adds to the command line.
const kargsFile = "/usr/lib/abupdate/kargs.d/10-test.toml"

// goodKargs is what the good one of other systems has there.
const goodKargs = "kargs = ['slottest=two words']\n"

// A garage holds systems with another kernel than the selector's: Debian's
// generic one, while the selector has the cloud one.
type garage struct {
	dir    string // holds images/, an OCI layout
	kernel *testimage.Kernel
}

var generic = sync.OnceValues(func() (*garage, error) {
	f, err := setup()
	if err != nil {
		return nil, err
	}
	depot, err := stock()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	g := &garage{dir: depot.dir}
	if g.kernel, err = testimage.GenericKernel(ctx); err != nil {
		return nil, err
	}
	set, err := testimage.New(g.kernel, f.bin)
	if err != nil {
		return nil, err
	}
	good := testimage.Variant{Tag: "good", Version: "2.0", Files: map[string]string{kargsFile: goodKargs}}
	if err := packModules(&good, g.kernel); err != nil {
		return nil, err
	}
	return g, set.WriteLayout(filepath.Join(g.dir, "generic"), good,
		testimage.Variant{Tag: "garbage", Version: "2.1", Files: map[string]string{"/usr/lib/modules/" + g.kernel.Release + "/vmlinuz": strings.Repeat("no kernel ", 1000)}},
		testimage.Variant{Tag: "hangs", Version: "2.3", Mode: testimage.Hangs},
		testimage.Variant{Tag: "panics", Version: "2.2", Files: map[string]string{kargsFile: "kargs = ['rdinit=/gone']\n"}},
	)
})

// packModules compresses the kernel's modules, by turns as one distribution and
// another does, but for those that the guest's init loads itself.
func packModules(v *testimage.Variant, k *testimage.Kernel) error {
	mods, err := build.ResolveModules(build.FromFS(os.DirFS(k.Modules)), build.DefaultModules())
	if err != nil {
		return err
	}
	for i, m := range mods {
		if strings.HasPrefix(m.Name, "virtio") {
			continue
		}
		how := [][]string{{"xz", ".xz", "--check=crc32", "--lzma2=dict=1MiB"}, {"zstd", ".zst", "-19"}}[i%2]
		cmd := exec.Command(how[0], append(how[2:], "-q", "-c")...)
		cmd.Stdin = bytes.NewReader(m.Data)
		packed, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("%q: %w", cmd.Args, err)
		}
		name := "/usr/lib/modules/" + k.Release + "/" + m.Path
		v.Remove = append(v.Remove, name)
		v.Files[name+how[1]] = string(packed)
	}
	return nil
}

func genericGarage(t *testing.T) *garage {
	t.Helper()
	g, err := generic()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *garage) image(tag string) string {
	return "oci:" + filepath.Join(g.dir, "generic") + ":" + tag
}

// TestOtherKernel updates from the cloud kernel to the generic one, whose
// modules are compressed: the slot boots its own, with its own words on the
// command line, and rolls back with both.
func TestOtherKernel(t *testing.T) {
	t.Parallel()
	other := genericGarage(t)
	d := newDevice(t)
	d.host("apply", other.image("good"))
	g := d.start()
	for range 2 { // as a pending slot, and as a confirmed one
		b := g.wantBoot("b", "2.0")
		t.Logf("init runs %.1f s after the second kernel's start", b.Uptime)
		g.wantKernel(other.kernel.Release)
		if line := g.run("guest", "cat", "/proc/cmdline"); !strings.Contains(line, `slottest="two words"`) {
			t.Errorf("command line of slot b: %s; want what its image adds", line)
		}
		st := g.status()
		if sel := st.Selector; sel == nil || sel.Kernel != d.f.kernel.Release || !sel.Kexec {
			t.Errorf("selector in status = %+v; want the cloud kernel's", sel)
		}
		if e := st.Slots["b"]; e.State == bootctl.Pending && e.TriesLeft != bootctl.DefaultTries-1 {
			t.Errorf("slot b = %+v; want one try taken off for one boot", e)
		}
		g.run("abupdate", "mark-good")
		g.reboot()
	}
	g.wantBoot("b", "2.0")
	g.run("abupdate", "rollback")
	g.reboot()
	g.wantBoot("a", "1.0")
	g.wantKernel(d.f.kernel.Release)
	if line := g.run("guest", "cat", "/proc/cmdline"); strings.Contains(line, "slottest") {
		t.Errorf("command line of slot a: %s; want nothing of slot b's", line)
	}
}

func (g *guest) wantKernel(release string) {
	g.t.Helper()
	if got := strings.TrimSpace(g.run("guest", "cat", "/proc/sys/kernel/osrelease")); got != release {
		g.t.Errorf("kernel %s runs; want %s", got, release)
	}
}

// TestBrokenKernel applies systems whose kernel does not come up: after three
// tries the old one runs again, with its kernel.
func TestBrokenKernel(t *testing.T) {
	tests := []struct{ name, tag, shows, reason string }{
		{"not a kernel", "garbage", `not a kernel that can be started`, "not a kernel that can be started"},
		{"panics before abinit", "panics", `Kernel panic`, "not confirmed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			other := genericGarage(t)
			d := newDevice(t)
			d.host("apply", other.image(tt.tag))
			g := d.start()
			for range bootctl.DefaultTries {
				if _, err := g.Expect(deadline(t, bootTime), regexp.MustCompile(tt.shows)); err != nil {
					t.Fatal(err)
				}
			}
			g.wantBoot("a", "1.0")
			g.wantKernel(d.f.kernel.Release)
			st := g.status()
			if st.Fallback == nil || !strings.Contains(*st.Fallback, tt.reason) {
				t.Errorf("fallback in status = %v; want a reason with %q", deref(st.Fallback), tt.reason)
			}
			if b := st.Slots["b"]; b.State != bootctl.Bad || b.TriesLeft != 0 || !strings.Contains(b.LastFailure, tt.reason) {
				t.Errorf("slot b = %+v; want bad, no tries left, %q", b, tt.reason)
			}
		})
	}
}
