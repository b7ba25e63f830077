package qemutests

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/abupdate/abupdate/initramfs/build"
	"github.com/abupdate/abupdate/internal/testimage"
	"github.com/abupdate/abupdate/internal/vm"
)

// bootTime is the longest that a guest may take to come up, on a busy machine
// without KVM.
const bootTime = 8 * time.Minute

// fixtures are made once and shared; tests only read them.
type fixtures struct {
	bin    testimage.Binaries
	kernel *testimage.Kernel
	set    *testimage.Set
}

var setup = sync.OnceValues(func() (*fixtures, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var f fixtures
	var err error
	if f.bin, err = testimage.BuildBinaries(ctx); err != nil {
		return nil, err
	}
	if f.kernel, err = testimage.CloudKernel(ctx); err != nil {
		return nil, err
	}
	if f.set, err = testimage.New(f.kernel, f.bin); err != nil {
		return nil, err
	}
	return &f, nil
})

func fixture(t *testing.T) *fixtures {
	t.Helper()
	f, err := setup()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// guestInitramfs makes an initramfs whose init is the test agent: a guest
// that needs no disk.
func guestInitramfs(t *testing.T, f *fixtures, modules ...string) string {
	t.Helper()
	init, err := os.ReadFile(f.bin.Guest)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := build.Initramfs(&b, build.Options{
		Init: init, Release: f.kernel.Release, Source: build.FromFS(os.DirFS(f.kernel.Modules)),
		Modules: append(build.DefaultModules(), modules...),
	}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "initramfs")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// quick are kernel parameters that save time without a change to what is tested.
const quick = "console=ttyS0 quiet loglevel=4 panic=1 nokaslr mitigations=off apparmor=0 cryptomgr.notests tsc=reliable no_timer_check "

// A guest is a running VM whose calls fail the test.
type guest struct {
	*vm.VM
	t *testing.T
}

// start boots a guest that is killed when the test ends.
func start(t *testing.T, cfg vm.Config) *guest {
	t.Helper()
	if dir := os.Getenv("ABUPDATE_QEMU_LOGS"); dir != "" && cfg.ConsoleLog == "" {
		cfg.ConsoleLog = filepath.Join(dir, filepath.Base(t.Name())+".log")
	}
	v, err := vm.Start(deadline(t, 20*time.Minute), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.Kill()
		t.Logf("QEMU used %.1f CPU seconds", v.CPUSeconds())
		if t.Failed() {
			t.Logf("to boot it by hand:\n%s", v.Command())
			t.Logf("console:\n%s", v.Console())
		}
	})
	return &guest{v, t}
}

func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// A boot is what the agent says when it comes up.
type boot struct {
	Slot, Version, Mode string
	Uptime              float64
}

// waitBoot waits for the next boot event. Each reset on the way, of a system
// that did not get so far, starts the clock anew.
func (g *guest) waitBoot() boot {
	g.t.Helper()
	for resets := g.resets(); ; resets = g.resets() {
		e, err := g.Event(deadline(g.t, bootTime), "boot")
		if errors.Is(err, context.DeadlineExceeded) && g.resets() > resets {
			continue
		}
		if err != nil {
			g.t.Fatal(err)
		}
		var b boot
		if err := e.Decode(&b); err != nil {
			g.t.Fatal(err)
		}
		return b
	}
}

func (g *guest) resets() int {
	n := 0
	for _, e := range g.Events() {
		if e.Name == "qmp:RESET" {
			n++
		}
	}
	return n
}

// run runs a program in the guest that must succeed, and returns its output.
func (g *guest) run(args ...string) string {
	g.t.Helper()
	r := g.try(args...)
	if r.Exit != 0 {
		g.t.Fatalf("%q in the guest exited with %d\n%s%s", args, r.Exit, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// try runs a program in the guest.
func (g *guest) try(args ...string) vm.Result {
	g.t.Helper()
	r, err := g.Run(deadline(g.t, bootTime), "", args...)
	if err != nil {
		g.t.Fatal(err)
	}
	return r
}
