package main

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const abinitLog = `
[    2.000000] Run /init as init process
[    2.100000] abupdate: timing: start 2.00 3.00
[    3.100000] abupdate: timing: modules 3.00 3.50
[    3.150000] abupdate: slot a (1), good; /sbin/init after 3.1s
[    3.200000] abupdate: timing: switch 3.10 3.60
[    3.300000] bench: init 3.20 3.75
            init-1       [001] .....     2.200000: sys_finit_module(fd: 7, uargs: 561d9c, flags: 0)
    modprobe b-8-77      [000] d.h1.     2.210000: sys_finit_module(fd: 3, uargs: 561d9c, flags: 0)
            init-1       [000] .....     2.900000: sys_finit_module -> 0x0
    modprobe b-8-77      [000] d.h1.     2.220000: sys_finit_module -> 0xffffffffffffffef
bench: end 3.40 3.90
`

const dracutLog = `
[    2.000000] Run /bench-init as init process
[    2.500000] bench: first 2.40 4.00
[    4.500000] bench: switch 4.40 5.00
[    5.000000] bench: init 4.90 5.25
`

// What the processors were not idle counts; before the first reading of ours,
// one of them; of the peer, nothing.
func TestFigures(t *testing.T) {
	near := cmp.Options{cmpopts.EquateApprox(0, 1e-9), cmp.AllowUnexported(step{})}
	for _, tt := range []struct {
		name, log string
		want      usage
		own       float64
	}{
		{"abinit", abinitLog, usage{CPU: 1.8, Wall: 1.3,
			Boot: boot{Switch: 1.7, Modules: 0.71 + 0.5, Kernel: 3.3},
			Steps: []step{{"start", usage{CPU: 0.1, Wall: 0.1}}, {"modules", usage{CPU: 1.5, Wall: 1}}, {"switch", usage{CPU: 0.1, Wall: 0.1}},
				{"init", usage{CPU: 0.05, Wall: 0.1}}}}, 0.49},
		{"dracut", dracutLog, usage{CPU: 3.75, Wall: 2.5, Boot: boot{Switch: 3, Kernel: 5},
			Steps: []step{{"first", usage{}}, {"switch", usage{CPU: 3, Wall: 2}}, {"init", usage{CPU: 0.75, Wall: 0.5}}}}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := parseBoot(tt.log)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.CPU = 0
			for _, s := range tt.want.Steps {
				tt.want.CPU += s.CPU
			}
			got, err := l.figures(2)
			if diff := cmp.Diff(tt.want, got, near); err != nil || diff != "" {
				t.Errorf("figures() error %v (-want +got):\n%s", err, diff)
			}
			if own := bootOwn(got); math.Abs(own-tt.own) > 1e-9 {
				t.Errorf("without modules: %v; want %v", own, tt.own)
			}
		})
	}
}

// A log that is not whole is no boot.
func TestParseBootRefuses(t *testing.T) {
	for name, log := range map[string]string{
		"empty":                  "",
		"no first process":       strings.Replace(abinitLog, "Run /init", "Ran /init", 1),
		"two marks":              strings.Replace(dracutLog, "bench: switch", "bench switch", 1),
		"a call without its end": strings.Replace(abinitLog, "sys_finit_module -> 0x0", "", 1),
	} {
		if l, err := parseBoot(log); err == nil {
			t.Errorf("%s: parseBoot() = %+v; want an error", name, l)
		}
	}
	for name, log := range map[string]string{
		"the image's init did not run": strings.Replace(abinitLog, "bench: init", "bench: late", 1),
		"no switch_root":               strings.Replace(abinitLog, "timing: switch", "timing: var", 1),
	} {
		l, err := parseBoot(log)
		if err != nil {
			t.Fatal(err)
		}
		if u, err := l.figures(2); err == nil {
			t.Errorf("%s: figures() = %+v; want an error", name, u)
		}
	}
}

func TestProcessorTime(t *testing.T) {
	const stat = "17 (qemu) x) S 1 17 17 0 -1 4194560 9 0 0 0 250 125 3 4 20 0 6 0 1 2 3"
	if got := processorTime(stat); got != 3.75 {
		t.Errorf("processorTime() = %v; want 3.75", got)
	}
	if got := processorTime("17 (gone)"); got != 0 {
		t.Errorf("processorTime() of what is no such line = %v", got)
	}
}

func TestUUID(t *testing.T) {
	if got, want := uuid("0123456789abcdef0123456789abcdef"), "01234567-89ab-cdef-0123-456789abcdef"; got != want {
		t.Errorf("uuid() = %s; want %s", got, want)
	}
}

func TestWriteBoots(t *testing.T) {
	var w strings.Builder
	side := func(cpu float64) usage {
		return usage{CPU: cpu, Wall: 1, Boot: boot{Modules: 0.5, Got: 0.9}, Steps: []step{{"start", usage{CPU: cpu, Wall: 1}}}}
	}
	writeBoots(&w, []boots{{"minimal", []pair{{side(1), side(5)}, {side(2), side(7)}, {side(4), side(6)}}}})
	for _, want := range []string{
		"| abinit | to start | 1000 ms | 2000 ms | 1000 ms | 1000 ms |\n",
		"| abinit | in finit_module | 500 ms | 500 ms | 500 ms | 500 ms |\n",
		"| dracut, minimal | all | 5000 ms | 6000 ms | 1000 ms | 1000 ms |\n",
		"| dracut, minimal | of that got from this machine | 90.00 % | 90.00 % | - | - |\n",
	} {
		if !strings.Contains(w.String(), want) {
			t.Errorf("no line %q in\n%s", want, &w)
		}
	}
}
