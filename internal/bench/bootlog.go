package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A mark is what a guest said when a part of its boot ended.
type mark struct {
	name string
	at   float64 // seconds of the kernel's log
	idle float64 // of all processors since the kernel's start, seconds
}

// A bootLog is what a guest tells of its boot.
type bootLog struct {
	run     float64 // when the kernel started the initramfs's first process
	marks   []mark
	modules float64 // inside of finit_module, seconds of all processes
}

var (
	logLine  = regexp.MustCompile(`^\[ *([0-9]+\.[0-9]+)\] (.*)$`)
	markLine = regexp.MustCompile(`^(?:abupdate: timing:|bench:) (\w+) [0-9.]+ ([0-9.]+)$`)
	callLine = regexp.MustCompile(`-([0-9]+) +\[[0-9]+\] \S+ +([0-9]+\.[0-9]+): sys_finit_module(\(| -> )`)
)

// parseBoot reads the kernel's log and the kernel's trace of finit_module.
func parseBoot(text string) (bootLog, error) {
	var l bootLog
	open := map[string]float64{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := callLine.FindStringSubmatch(line); m != nil {
			at, begun := number(m[2]), open[m[1]]
			if m[3] == "(" {
				open[m[1]] = at
			} else if begun > 0 {
				l.modules += at - begun
				delete(open, m[1])
			}
			continue
		}
		m := logLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if strings.HasPrefix(m[2], "Run /") {
			l.run = number(m[1])
		}
		if w := markLine.FindStringSubmatch(m[2]); w != nil {
			l.marks = append(l.marks, mark{w[1], number(m[1]), number(w[2])})
		}
	}
	if l.run == 0 || len(l.marks) < 3 || len(open) > 0 {
		return l, fmt.Errorf("reading a boot's log: a first process at %v, %d marks, %d calls without an end", l.run, len(l.marks), len(open))
	}
	return l, nil
}

// number parses what a pattern of digits matched.
func number(s string) float64 {
	v, _ := strconv.ParseFloat(s, 64)
	return v
}

// figures are what rows look at. The clock of the marks is that of the log;
// what n processors did between two marks is what they were not idle.
//
// Nobody reads the idle time before the first mark, so what comes before it is
// counted as one busy processor: the start of abinit's runtime. The peer's first
// mark is its first line, with nothing before it.
func (l bootLog) figures(n int) (usage, error) {
	var u usage
	last := mark{at: l.run}
	begin := l.run
	for i, m := range l.marks {
		u.Wall = m.at - begin
		s := step{m.name, usage{Wall: m.at - last.at}}
		switch {
		case i == 0 && m.name == firstLine:
			begin, s.Wall = m.at, 0
		case i == 0:
			s.CPU = s.Wall
		default:
			s.CPU = float64(n)*s.Wall - (m.idle - last.idle)
		}
		last = m
		u.CPU += s.CPU
		u.Steps = append(u.Steps, s)
		if m.name == "switch" {
			u.Boot.Switch = u.CPU
		}
	}
	if last.name != "init" || u.Boot.Switch == 0 {
		return u, fmt.Errorf("reading a boot's log: it ends with %q, %.3f s after the first process", last.name, u.Wall)
	}
	u.Wall, u.Boot.Kernel, u.Boot.Modules = last.at-begin, last.at, l.modules
	for _, s := range u.Steps {
		if s.Name == "modules" { // nothing else happens meanwhile: what the other processors do is done for it
			u.Boot.Modules += s.CPU - s.Wall
		}
	}
	return u, nil
}

// firstLine is the peer's first mark.
const firstLine = "first"
