package main

import (
	"fmt"
	"os/exec"

	"github.com/abupdate/abupdate/internal/fault"
)

// rebootSystem asks the system's init to reboot.
func rebootSystem() error {
	for _, argv := range [][]string{{"systemctl", "reboot"}, {"openrc-shutdown", "--reboot", "now"}, {"reboot"}} {
		path, err := exec.LookPath(argv[0])
		if err != nil {
			continue
		}
		if out, err := exec.Command(path, argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("rebooting by %s: %w: %s", path, err, out)
		}
		return nil
	}
	return fault.Errorf(fault.Other, "rebooting: neither systemctl nor reboot is there; the new system boots next anyway")
}
