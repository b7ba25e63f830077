package initramfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/watchdog"
)

func (m *machine) ArmWatchdog(timeout time.Duration) (bool, error) {
	dog, err := watchdog.Open(unix.AT_FDCWD, watchdog.Path)
	if errors.Is(err, watchdog.ErrNone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	m.watchdog = dog
	return true, dog.SetTimeout(timeout)
}

// Alive pings the watchdog. It is never stopped: the image's init goes on with
// it, or the machine is reset, which the boot counter saw.
func (m *machine) Alive() {
	m.alive.Store(int64(m.Uptime()))
	if m.watchdog != nil {
		m.watchdog.Ping() // one that fails is as good as none
	}
}

// BridgeName is what the process that bridges the watchdog is called. systemd
// spares those with such a name when it kills what is left at a shutdown.
const BridgeName = "@abupdate-watchdog"

// The open directory that a bridge finds the watchdog in: it goes on with the
// root directory of the initramfs, where nothing is any more.
const bridgeDev = 3

// BridgeWatchdog starts this program a second time, as BridgeMain. It must come
// before the mounts are moved. From then on the bridge is who pings.
func (m *machine) BridgeWatchdog(timeout, grace time.Duration) error {
	if real, err := m.watchdog.Timeout(); err == nil {
		timeout = real
	}
	dev, err := os.Open(filepath.Dir(watchdog.Path))
	if err != nil {
		return err
	}
	defer dev.Close()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	m.Alive()
	m.watchdog.Close()
	m.watchdog = nil
	_, err = os.StartProcess("/proc/self/exe", []string{BridgeName, timeout.String(), grace.String()}, &os.ProcAttr{
		Dir: "/", Files: []*os.File{null, null, null, bridgeDev: dev}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("starting who pings it: %w", err)
	}
	return nil
}

// BridgeMain is what the process called BridgeName does.
func BridgeMain(args []string) {
	var times [2]time.Duration
	for i := range times {
		times[i], _ = time.ParseDuration(args[i])
	}
	err := watchdog.Bridge{
		Open:    func() (watchdog.Device, error) { return watchdog.Open(bridgeDev, filepath.Base(watchdog.Path)) },
		Now:     uptime,
		Sleep:   time.Sleep,
		Timeout: times[0], Grace: times[1],
	}.Run()
	line := "<6>abupdate: the watchdog has a new owner\n"
	if err != nil {
		line = fmt.Sprintf("<3>abupdate: the watchdog resets the machine in at most %v: no owner within %v: %v\n", times[0], times[1], err)
	}
	if fd, err := unix.Openat(bridgeDev, "kmsg", unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
		unix.Write(fd, []byte(line))
	}
}
