package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/bootctl"
)

// A config is /etc/guest.json: how this image behaves once it has said that
// it is there. "" serves the host, and "nodog" does so without the watchdog;
// "panic", "exit" and "hang" are broken, and "dogged" hangs at odd tries before
// it takes the watchdog over, at others after it.
type config struct {
	Mode string `json:"mode"`
}

// runInit is the init of the tiny image. It never returns; where it fails it
// says so and exits, which the kernel answers with a panic.
func runInit() {
	fmt.Printf("guest: %v\n", live())
	os.Exit(1)
}

// live returns only with an error.
func live() error {
	mountMissing()
	os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
	os.Setenv("HOME", "/root")
	loadModules("/etc/guest.modules")
	loadModules("/etc/abupdate/modules") // this is the init of an initramfs
	if err := networkUp(); err != nil {
		fmt.Printf("guest: %v\n", err)
	}
	var cfg config
	if b, err := os.ReadFile("/etc/guest.json"); err == nil {
		if err := json.Unmarshal(b, &cfg); err != nil {
			return fmt.Errorf("reading /etc/guest.json: %w", err)
		}
	}
	fmt.Printf("guest: version %s, mode %q\n", osVersion("/etc/os-release"), cfg.Mode)
	a, err := openAgent()
	if err != nil {
		return err
	}
	if err := a.announce(cfg.Mode); err != nil {
		return err
	}
	if cfg.Mode != "" && cfg.Mode != "nodog" {
		act(cfg.Mode)
	}
	if cfg.Mode != "nodog" {
		keepWatchdog()
	}
	return a.serve()
}

// keepWatchdog takes over the watchdog, if there is one, as an init does that
// knows of it.
func keepWatchdog() {
	f := openWatchdog()
	if f == nil {
		return
	}
	go func() {
		for ; ; time.Sleep(5 * time.Second) {
			f.Write([]byte{0})
		}
	}()
}

func openWatchdog() *os.File {
	f, err := os.OpenFile("/dev/watchdog", os.O_WRONLY, 0)
	if err != nil {
		return nil
	}
	fmt.Println("guest: took over the watchdog")
	return f
}

// freezeInit stops process 1, so that nothing it does goes on: as the image's
// mkfs.ext4 it hangs the boot sequence.
func freezeInit() error {
	dir, err := os.MkdirTemp("", "cgroup")
	if err != nil {
		return err
	}
	if err := unix.Mount("cgroup2", dir, "cgroup2", 0, ""); err != nil {
		return fmt.Errorf("mounting cgroup2: %w", err)
	}
	dir += "/frozen"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, file := range []string{"cgroup.procs", "cgroup.freeze"} {
		if err := os.WriteFile(dir+"/"+file, []byte("1"), 0); err != nil {
			return err
		}
	}
	for {
		time.Sleep(time.Hour)
	}
}

// mountMissing mounts what an initramfs may not have handed over.
func mountMissing() {
	for _, m := range []struct{ dir, fstype string }{
		{"/proc", "proc"}, {"/sys", "sysfs"}, {"/dev", "devtmpfs"}, {"/run", "tmpfs"}, {"/tmp", "tmpfs"},
	} {
		if !mounted(m.dir) {
			if err := unix.Mount(m.fstype, m.dir, m.fstype, 0, ""); err != nil {
				fmt.Printf("guest: mounting %s: %v\n", m.dir, err)
			}
		}
	}
}

// mounted compares device numbers, since /proc may be what is missing.
func mounted(dir string) bool {
	var a, b unix.Stat_t
	return unix.Stat(dir, &a) == nil && unix.Stat(dir+"/..", &b) == nil && a.Dev != b.Dev
}

// loadModules loads the files named in list, one a line, in order.
func loadModules(list string) {
	f, err := os.Open(list)
	if err != nil {
		return
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if err := loadModule(strings.TrimPrefix(sc.Text(), "?")); err != nil {
			fmt.Printf("guest: %v\n", err)
		}
	}
}

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("loading module: %w", err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("loading module %s: %w", file, err)
	}
	return nil
}

// act does what ends a normal life, as init or below systemd.
func act(what string) {
	fmt.Printf("guest: doing %s\n", what)
	switch what {
	case "panic":
		os.WriteFile("/proc/sys/kernel/sysrq", []byte("1"), 0)
		os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
	case "exit":
		os.Exit(3)
	case "dogged":
		var dog *os.File
		if b, err := bootctl.ReadBooted(bootctl.BootedPath); err != nil || b.Try%2 == 0 {
			dog = openWatchdog()
		}
		act("hang")
		runtime.KeepAlive(dog) // open
	case "hang":
		for { // an empty select would be a deadlock, which ends the program
			time.Sleep(time.Hour)
		}
	case "reboot", "poweroff":
		if os.Getpid() != 1 {
			exec.Command("systemctl", what).Run()
			return
		}
		unix.Sync()
		time.Sleep(10 * time.Millisecond) // the console's last line
		cmd := unix.LINUX_REBOOT_CMD_RESTART
		if what == "poweroff" {
			cmd = unix.LINUX_REBOOT_CMD_POWER_OFF
		}
		unix.Reboot(cmd)
	default:
		fmt.Printf("guest: cannot do %q\n", what)
	}
}
