package main

import (
	"fmt"
	"io"
	"slices"
)

// writeBoots tells for both sides what each part of their boots took, of all
// runs the least and the median.
func writeBoots(w io.Writer, all []boots) {
	for _, b := range all {
		for _, side := range []struct {
			name string
			of   func(pair) usage
		}{{"abinit", func(p pair) usage { return p.ours }}, {"dracut, " + b.name, func(p pair) usage { return p.peer }}} {
			var runs []usage
			for _, p := range b.pairs {
				runs = append(runs, side.of(p))
			}
			writeParts(w, side.name, runs)
		}
	}
}

func writeParts(w io.Writer, name string, runs []usage) {
	if len(runs) == 0 {
		return
	}
	part := func(part string, value func(usage) (cpu, wall float64)) {
		var cpus, walls []float64
		for _, u := range runs {
			c, w := value(u)
			cpus, walls = append(cpus, c), append(walls, w)
		}
		ms := milliseconds.format
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", name, part, ms(slices.Min(cpus)), ms(median(cpus)), ms(slices.Min(walls)), ms(median(walls)))
	}
	for i, s := range runs[0].Steps {
		part("to "+s.Name, func(u usage) (float64, float64) { return u.Steps[i].CPU, u.Steps[i].Wall })
	}
	part("in finit_module", func(u usage) (float64, float64) { return u.Boot.Modules, u.Boot.Modules })
	part("all", func(u usage) (float64, float64) { return u.CPU, u.Wall })
	var got []float64
	for _, u := range runs {
		got = append(got, 100*u.Boot.Got)
	}
	fmt.Fprintf(w, "| %s | of that got from this machine | %s | %s | - | - |\n", name, percent.format(slices.Min(got)), percent.format(median(got)))
}

// howBooted says what is counted.
const howBooted = `
Both boot the same squashfs with the same hash tree, byte for byte, on the same kernel, started by QEMU directly: no firmware, no
loader, and none of a kernel by kexec. Ours is a disk of ` + "`abupdate image`" + ` and its initramfs as it comes, with the second in which a key
opens the menu. The peer's disk has squashfs, tree and an ext4 for /var in partitions of their own, which systemd finds by the root hash
(` + "`systemd.verity`, `roothash=`" + `); ` + "`systemd.volatile=overlay`" + ` puts a tmpfs on it, and an fstab of the image has /var mounted. So both verify
every block, and have the same writable root and /var in the end. Ours also chooses a slot, saves that, and looks for what /var lacks.
*No more than needed* is dracut with the modules and drivers that this boot uses and none besides, chosen by hand; *any machine* is
what ` + "`dracut --no-hostonly`" + ` makes of this root. Both are packed with zstd, their programs stripped.

CPU of the guest is what the kernel says: processors times the time that went by, less the idle time of /proc/uptime, whose unit is 10 ms. It has
everything in it: threads of the kernel, such as those of dm-verity, interrupts, and in the peer's case udev. ` + "`abupdate.timing`" + ` makes abinit log it at
the end of each phase. A boot begins where the kernel logs that it runs the first process: what comes before abinit's first line, its
loading and the start of its runtime, counts as one busy processor. The peer's begins with the first line of a script
before its init, and all before that is left out. It ends with abinit's last line before it moves the mounts and runs the image's init; the
peer's ends with its last hook (pre-pivot), with the end of systemd still to come. *To init* is the first line of the image's init, a shell
script, for both.

The loading of modules is the time inside of the system call finit_module, as the kernel traces it for both, and in abinit, which does nothing
else meanwhile, also what the other processors do in that phase. What udev takes to find out which module to load is not in it.

A processor of the guest that waits for one of this machine counts as busy. The last lines tell how much of that time QEMU had one; on a
machine with nothing else to do it is about all of it, and where it is little, the CPU above is too much by as much.
`
