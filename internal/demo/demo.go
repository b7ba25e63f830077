// Package demo shows the whole life of a device on this machine: a disk is
// made from a Debian image, boots in QEMU, is updated from a registry, falls
// back from a broken update and is reset.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/abupdate/abupdate/internal/debianimage"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/vm"
)

// Options says how a demo runs; the zero value works from a checkout that
// `make build` has filled.
type Options struct {
	KeepDir  string    // where the disk stays; "" is dist/demo
	CacheDir string    // Debian roots; "" is $ABUPDATE_CACHE or .cache
	BinDir   string    // abupdate, abinit and guest; "" is the folder of the running program
	Verbose  bool      // show the serial console and what the programs print
	Out      io.Writer // the timeline; nil is os.Stdout
}

func (opt *Options) setDefaults() error {
	if opt.KeepDir == "" {
		opt.KeepDir = filepath.Join("dist", "demo")
	}
	if opt.CacheDir == "" {
		opt.CacheDir = os.Getenv("ABUPDATE_CACHE")
	}
	if opt.CacheDir == "" {
		opt.CacheDir = ".cache"
	}
	if opt.BinDir == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding abupdate's programs: %w", err)
		}
		opt.BinDir = filepath.Dir(self)
	}
	if opt.Out == nil {
		opt.Out = os.Stdout
	}
	for _, dir := range []*string{&opt.KeepDir, &opt.CacheDir, &opt.BinDir} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
	}
	for _, name := range []string{"abupdate", "abinit", "guest"} {
		if _, err := os.Stat(filepath.Join(opt.BinDir, name)); err != nil {
			return fault.Errorf(fault.Usage, "finding abupdate's programs: %w (run make build)", err)
		}
	}
	return os.MkdirAll(opt.KeepDir, 0o755)
}

// Run runs the demo and prints a timeline.
func Run(ctx context.Context, opt Options) error {
	if err := opt.setDefaults(); err != nil {
		return err
	}
	d := &demo{opt: opt, tl: newTimeline(opt.Out)}
	d.tl.tty = d.tl.tty && !opt.Verbose // the console would write into its line
	d.tl.printf("One device's life, on this machine: nothing outside of %s and the cache is touched.\n\n", short(opt.KeepDir))
	err := d.run(ctx)
	d.close()
	if err != nil {
		return d.explain(err)
	}
	d.summary()
	return nil
}

// demo is one run.
type demo struct {
	opt      Options
	tl       *timeline
	set      *debianimage.Set
	registry *registry
	device   *device
	unfollow func() // ends what follow began
}

func (d *demo) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.buildImages, d.publishImages, d.makeDisk,
		d.firstBoot, d.update, d.brokenUpdate, d.factoryReset, d.powerOff,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) close() {
	if d.device != nil {
		d.device.kill()
	}
	if d.unfollow != nil {
		d.unfollow()
	}
	if d.registry != nil {
		d.registry.close()
	}
}

func (d *demo) path(name string) string { return filepath.Join(d.opt.KeepDir, name) }

// machine is the device's hardware. Once the registry is gone it is started
// without a network.
func (d *demo) machine() vm.Config {
	cfg := vm.Config{
		Disks:      []vm.Disk{{Path: d.path("disk.raw")}},
		Vars:       d.path("uefi-vars.fd"),
		MemoryMiB:  512,
		CPUs:       min(runtime.NumCPU(), 2),
		ConsoleLog: d.path("console.log"),
	}
	if d.registry != nil {
		cfg.Forward = map[string]string{registryInGuest: d.registry.addr}
	}
	return cfg
}

// follow shows what a growing file gets, until close.
func (d *demo) follow(path string) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	d.unfollow = func() {
		close(stop)
		<-stopped
	}
	go func() {
		defer close(stopped)
		f, err := os.Open(path)
		if err != nil {
			d.tl.printf("%v\n", err)
			return
		}
		defer f.Close()
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
				io.Copy(d.opt.Out, f) //nolint:errcheck // a log for people, which the file holds too
			}
		}
	}()
}

// explain adds where to look to an error.
func (d *demo) explain(err error) error {
	if errors.Is(err, context.Canceled) || d.device == nil {
		return err
	}
	log := tailFile(d.path("console.log"), 15)
	d.tl.printf("\nLast lines of the console (all of it: %s):\n%s\n", short(d.path("console.log")), indent(log))
	return err
}

func (d *demo) summary() {
	hand := d.machine()
	hand.Forward, hand.ConsoleLog = nil, ""
	d.tl.printf(`
All of it took %s. The disk stays: %s
  slot A holds version 3, which failed, slot B version 2, which runs

Look at it without booting:
  %s status --disk %s
Boot it by hand, with a root shell on this terminal (power off: systemctl poweroff; leave QEMU: Ctrl-A X):
  %s
`, clock(time.Since(d.tl.began)), short(d.path("disk.raw")),
		short(filepath.Join(d.opt.BinDir, "abupdate")), short(d.path("disk.raw")), hand.Command())
}

// short is path from here, where that is shorter.
func short(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(wd, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	return rel
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ")
}

// tailFile returns the last n lines of a file, without colours.
func tailFile(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(plain(string(b))), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
