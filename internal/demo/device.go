package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/vm"
	"github.com/abupdate/abupdate/updater"
)

// bootLimit bounds one boot. A busy machine without KVM takes minutes.
const bootLimit = 10 * time.Minute

// errBoot is the cause when a boot takes longer than bootLimit.
var errBoot = errors.New("the guest did not come up in time")

// A device is the machine that the demo boots.
type device struct{ vm *vm.VM }

func startDevice(ctx context.Context, cfg vm.Config) (*device, error) {
	v, err := vm.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &device{v}, nil
}

func (d *device) kill() { d.vm.Kill() }

// A boot is what the guest's agent says when it starts.
type boot struct {
	Slot    string  `json:"slot"`
	Version string  `json:"version"`
	Uptime  float64 `json:"uptime"`
	Booted  bootctl.Booted
}

// nextBoot waits for the agent of the next system that starts, whether it will
// be a complete boot or not.
func (d *device) nextBoot(ctx context.Context) (boot, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, bootLimit, errBoot)
	defer cancel()
	var b boot
	e, err := d.vm.Event(ctx, "boot")
	if err != nil {
		return b, err
	}
	err = e.Decode(&b)
	return b, err
}

// settled waits until systemd has started everything, the unit that confirms
// the slot among it.
func (d *device) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bootLimit, errBoot)
	defer cancel()
	// It says "degraded" and fails when some unit did; that is no matter here.
	r, err := d.vm.Run(ctx, "", "systemctl", "is-system-running", "--wait")
	if err != nil {
		return err
	}
	if state := strings.TrimSpace(r.Stdout); state != "running" && state != "degraded" {
		return fmt.Errorf("waiting for systemd: %q %s", state, strings.TrimSpace(r.Stderr))
	}
	return nil
}

// run runs a program in the guest and returns what it printed.
func (d *device) run(ctx context.Context, args ...string) (string, error) {
	r, err := d.vm.Run(ctx, "", args...)
	if err != nil {
		return "", err
	}
	if r.Exit != 0 {
		return "", fmt.Errorf("running %q in the guest: exit code %d: %s", strings.Join(args, " "), r.Exit, strings.TrimSpace(r.Stderr+r.Stdout))
	}
	return strings.TrimRight(r.Stdout, "\n"), nil
}

func (d *device) shell(ctx context.Context, script string) (string, error) {
	return d.run(ctx, "/bin/sh", "-ec", script)
}

func (d *device) status(ctx context.Context) (*updater.Status, error) {
	out, err := d.run(ctx, "abupdate", "status", "--json")
	if err != nil {
		return nil, err
	}
	var st updater.Status
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		return nil, fmt.Errorf("reading the guest's status: %w", err)
	}
	return &st, nil
}

// reboot asks systemd for an orderly one. The answer may get lost on the way.
func (d *device) reboot(ctx context.Context) error {
	_, err := d.vm.Run(ctx, "", "systemctl", "--no-block", "reboot")
	if errors.Is(err, vm.ErrReset) {
		return nil
	}
	return err
}
