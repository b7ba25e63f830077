package initramfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// armWatchdog arms the watchdog that was ordered, once there is one.
func (b *boot) armWatchdog() {
	if b.cmdline.Watchdog == 0 || b.watched {
		return
	}
	var err error
	b.watched, err = b.sys.ArmWatchdog(b.cmdline.Watchdog)
	b.warn(err)
}

// leaveWatchdog bridges the time until the image's init, or what it starts,
// takes the watchdog over. Where that cannot be, init has the watchdog's own
// time for it.
func (b *boot) leaveWatchdog() {
	if b.watched && b.cmdline.Grace > 0 {
		b.warn(b.sys.BridgeWatchdog(b.cmdline.Watchdog, b.cmdline.Grace))
	}
}

// loadModules loads what the list names, in its order. The watchdog is armed
// as soon as its module is there; the one in software only where the machine
// has none.
func (b *boot) loadModules() error {
	list, err := readFile(b.path(modulesPath))
	if errors.Is(err, os.ErrNotExist) {
		return nil // everything is built in
	}
	if err != nil {
		return err
	}
	software := ""
	for line := range strings.Lines(string(list)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if filepath.Base(line) == softdog {
			software = line
			continue
		}
		if err := b.loadModule(line); err != nil {
			return err
		}
		if strings.Contains(line, watchdogDir) {
			b.armWatchdog()
		}
	}
	if software == "" || b.cmdline.Watchdog == 0 || b.watched {
		return nil
	}
	if err := b.loadModule(software); err != nil {
		return err
	}
	b.armWatchdog()
	return nil
}

// Where kernels have their watchdogs, and the one that is a timer only.
const (
	watchdogDir = "/drivers/watchdog/"
	softdog     = "softdog.ko"
)

// loadModule loads one module; "?" marks one that may fail to load.
func (b *boot) loadModule(line string) error {
	name, optional := strings.CutPrefix(line, "?")
	b.sys.Alive()
	err := b.sys.LoadModule(b.path(name), b.moduleParams(name))
	if err == nil {
		return nil
	}
	if err = fmt.Errorf("loading %s: %w", name, err); optional {
		b.debug("%v", err)
		return nil
	}
	return err
}

// moduleParams returns what the command line says to a module, MODULE.NAME=VALUE,
// as modprobe takes it from there. A watchdog that was ordered goes on over the
// start of another kernel: its drivers would stop it there, as for a reboot.
func (b *boot) moduleParams(file string) string {
	plain := func(name string) string { return strings.ReplaceAll(name, "-", "_") }
	module := plain(strings.TrimSuffix(filepath.Base(file), ".ko"))
	var params []string
	if module == "watchdog" && b.cmdline.Watchdog > 0 {
		params = append(params, "stop_on_reboot=0") // one on the command line comes later and counts
	}
	for _, word := range splitCmdline(b.line) {
		name, param, ok := strings.Cut(word, ".")
		if !ok || param == "" || plain(name) != module {
			continue
		}
		if key, value, ok := strings.Cut(param, "="); ok && strings.ContainsAny(value, " \t") {
			param = key + `="` + value + `"`
		}
		params = append(params, param)
	}
	return strings.Join(params, " ")
}
