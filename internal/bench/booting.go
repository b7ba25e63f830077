package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/abupdate/abupdate/internal/vm"
)

// A boot is what a usage has of a guest's boot, seconds.
type boot struct {
	Switch  float64 // of all processors, from the first process to switch_root
	Modules float64 // of it in the loading of modules
	Kernel  float64 // from the kernel's start to the image's init, wall
	Got     float64 // what QEMU took of the machine, of what the guest counted as busy
}

var milliseconds = unit{"ms", 1e-3, 0}

func bootOwn(u usage) float64     { return u.Boot.Switch - u.Boot.Modules }
func bootSwitch(u usage) float64  { return u.Boot.Switch }
func bootModules(u usage) float64 { return u.Boot.Modules }
func bootKernel(u usage) float64  { return u.Boot.Kernel }

// bootRows are those of one of dracut's initramfs.
func bootRows(prefix, peer string, from *experiment, own, whole, bytes bar) []row {
	return []row{
		{prefix + "cpu", "first process to switch_root without the loading of modules, CPU of the guest", peer, from, bootOwn, milliseconds, own},
		{prefix + "modules", "the loading of modules", peer, from, bootModules, milliseconds, bar{}},
		{prefix + "switch", "first process to switch_root, all of it, CPU of the guest", peer, from, bootSwitch, milliseconds, bar{}},
		{prefix + "init", "first process to the first line of the image's init, wall", peer, from, wall, milliseconds, whole},
		{prefix + "init-cpu", "the same, CPU of the guest", peer, from, cpu, milliseconds, whole},
		{prefix + "kernel", "the kernel's start to the first line of the image's init, wall", peer, from, bootKernel, milliseconds, whole},
		{prefix + "bytes", "the initramfs", peer, from, size, megabytes, bytes},
	}
}

// Guests have two processors, and little of the rest.
const (
	guestProcessors = 1
	guestMemory     = 1024 // MiB
	guestWait       = 10 * time.Minute
)

// booting compares boots of the same root with the same kernel.
func booting(name string, n int, image func(d *dracut) string) *experiment {
	return &experiment{name: "booting, " + name, run: func(ctx context.Context, b *bench) ([]pair, error) {
		m, err := b.machines(ctx)
		if err != nil {
			return nil, err
		}
		pairs, err := b.alternate(ctx, n,
			func(ctx context.Context, round int) (usage, error) { return m.boot(ctx, m.ours) },
			func(ctx context.Context, round int) (usage, error) {
				return m.boot(ctx, guest{image(m.dracut), m.peer.disk, m.peer.append})
			})
		b.boots = append(b.boots, boots{name, pairs})
		writeBoots(b.log, b.boots[len(b.boots)-1:])
		return pairs, err
	}}
}

var (
	bootMinimal = booting("minimal", 5, func(d *dracut) string { return d.minimal() })
	bootGeneric = booting("generic", 3, func(d *dracut) string { return d.generic() })
)

// processorTime is user and system time in a /proc/PID/stat, seconds.
func processorTime(stat string) float64 {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 13 {
		return 0
	}
	return (number(f[11]) + number(f[12])) / 100 // USER_HZ
}

// boots are what an experiment booted, for the page.
type boots struct {
	name  string
	pairs []pair
}

// A guest is how a side boots.
type guest struct{ initrd, disk, append string }

// common is the end of both command lines. The kernel traces the loading of
// modules in both.
const common = " console=ttyS0 quiet panic=5 init=" + guestInit +
	" trace_event=syscalls:sys_enter_finit_module,syscalls:sys_exit_finit_module"

var guestEnd = regexp.MustCompile(`(?m)^bench: end ([0-9.]+) ([0-9.]+)$`)

// boot boots a guest to the image's init, which tells how it went and turns
// the guest off.
func (m *machines) boot(ctx context.Context, g guest) (usage, error) {
	ctx, cancel := context.WithTimeout(ctx, guestWait)
	defer cancel()
	v, err := vm.Start(ctx, vm.Config{Kernel: m.kernel, Initrd: g.initrd, Append: g.append + common,
		Disks: []vm.Disk{{Path: g.disk}}, MemoryMiB: guestMemory, CPUs: guestProcessors, NoReboot: true})
	if err != nil {
		return usage{}, err
	}
	defer v.Kill()
	end, err := v.Expect(ctx, guestEnd)
	var took float64
	if err == nil {
		took = processorTime(readText(fmt.Sprintf("/proc/%d/stat", v.Pid())))
		err = v.Wait(ctx)
	}
	if err != nil {
		said := &tail{}
		fmt.Fprint(said, v.Console())
		return usage{}, fmt.Errorf("booting %s: %w: %s", g.initrd, err, said)
	}
	l, err := parseBoot(v.Console())
	if err != nil {
		return usage{}, err
	}
	u, err := l.figures(guestProcessors)
	if err != nil {
		return usage{}, err
	}
	u.Boot.Got = took / (guestProcessors*number(end[1]) - number(end[2]))
	info, err := os.Stat(g.initrd)
	if err == nil {
		u.Size = info.Size()
	}
	return u, err
}
