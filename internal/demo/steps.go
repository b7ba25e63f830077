package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/debianimage"
	"github.com/abupdate/abupdate/updater"
)

func (d *demo) buildImages(ctx context.Context) error {
	return d.tl.step("build Debian with systemd, kernel and sshd (cached next time)", func() (err error) {
		d.set, err = debianimage.Build(ctx, debianimage.Binaries{
			Abupdate: filepath.Join(d.opt.BinDir, "abupdate"),
			Agent:    filepath.Join(d.opt.BinDir, "guest"),
		}, debianimage.Options{CacheDir: d.opt.CacheDir, Log: d.log()})
		return err
	})
}

func (d *demo) publishImages(ctx context.Context) error {
	return d.tl.step("publish version 1 in a registry on loopback", func() (err error) {
		if d.registry, err = startRegistry(d.opt.KeepDir); err != nil {
			return err
		}
		return d.registry.publish(ctx, d.set.V1, "1", stable)
	})
}

// makeDisk runs the command that everybody else would run.
func (d *demo) makeDisk(ctx context.Context) error {
	ref := d.registry.addr + "/" + repository + ":1"
	return d.tl.step("abupdate image: a bootable A/B disk", func() error {
		// A machine of its own has not seen another disk's variables.
		if err := os.RemoveAll(d.path("uefi-vars.fd")); err != nil {
			return err
		}
		out, err := d.abupdate(ctx, "image", ref, "-o", d.path("disk.raw"), "--size", "3G")
		if err != nil {
			return err
		}
		d.tl.note("$ abupdate image %s -o %s --size 3G", ref, short(d.path("disk.raw")))
		for line := range strings.Lines(out) {
			for _, key := range []string{"image ", "root hash ", "kernel ", "initramfs "} {
				if strings.HasPrefix(line, key) {
					d.tl.note("%s", strings.TrimSpace(line))
				}
			}
		}
		return nil
	})
}

func (d *demo) firstBoot(ctx context.Context) error {
	return d.tl.step("boot: UEFI, selector, dm-verity, overlay, systemd", func() (err error) {
		if d.device, err = startDevice(ctx, d.machine()); err != nil {
			return err
		}
		if d.opt.Verbose {
			d.follow(d.path("console.log"))
		}
		if _, err := d.arrive(ctx, bootctl.SlotA, "1"); err != nil {
			return err
		}
		// Signs of life for later: / forgets, /var keeps.
		_, err = d.device.shell(ctx, "touch /etc/written-to-root; mkdir -p /var/lib/app; echo precious > /var/lib/app/data; sync")
		d.tl.note("wrote /etc/written-to-root and /var/lib/app/data")
		return err
	})
}

// arrive waits for a complete boot of version from slot, which must have been
// confirmed by its unit.
func (d *demo) arrive(ctx context.Context, slot bootctl.Slot, version string) (*updater.Status, error) {
	b, err := d.device.nextBoot(ctx)
	if err != nil {
		return nil, err
	}
	if b.Slot != slot.String() || b.Version != version {
		return nil, fmt.Errorf("booting slot %v with version %s: slot %s with version %s came up", slot, version, b.Slot, b.Version)
	}
	if err := d.device.settled(ctx); err != nil {
		return nil, err
	}
	st, err := d.device.status(ctx)
	if err != nil {
		return nil, err
	}
	if got := st.Slots[slot.String()].State; got != bootctl.Good {
		return nil, fmt.Errorf("confirming slot %v: it is %s after the boot", slot, got)
	}
	key, err := d.device.shell(ctx, "cut -d' ' -f2 /var/lib/ssh/ssh_host_ed25519_key.pub")
	if err != nil {
		return nil, err
	}
	d.tl.note("slot %v runs version %s, confirmed by abupdate-mark-good.service; SSH host key …%s", slot, version, key[max(0, len(key)-12):])
	return st, nil
}

func (d *demo) update(ctx context.Context) error {
	if err := d.tl.step("publish version 2 (one package more) as "+stable, func() error {
		return d.registry.publish(ctx, d.set.V2, "2", stable)
	}); err != nil {
		return err
	}
	if err := d.apply(ctx, bootctl.SlotB, "2"); err != nil {
		return err
	}
	return d.tl.step("reboot into slot B", func() error {
		if err := d.device.reboot(ctx); err != nil {
			return err
		}
		if _, err := d.arrive(ctx, bootctl.SlotB, "2"); err != nil {
			return err
		}
		out, err := d.device.shell(ctx, "test ! -e /etc/written-to-root; command -v htop; cat /var/lib/app/data")
		if err != nil {
			return fmt.Errorf("looking at version 2: %w", err)
		}
		prog, data, _ := strings.Cut(out, "\n")
		d.tl.note("%s is there; /etc/written-to-root is gone; /var/lib/app/data still says %q", prog, data)
		return nil
	})
}

// apply runs in the guest, against the registry on the host. The reference is
// in the device's configuration.
func (d *demo) apply(ctx context.Context, slot bootctl.Slot, version string) error {
	return d.tl.step(fmt.Sprintf("abupdate apply, in the guest: version %s into slot %s", version, strings.ToUpper(slot.String())), func() error {
		d.tl.note("device# abupdate apply")
		out, err := d.device.run(ctx, "abupdate", "apply", "--quiet")
		if err != nil {
			return err
		}
		d.tl.note("%s", out)
		st, err := d.device.status(ctx)
		if err != nil {
			return err
		}
		if got := st.Slots[slot.String()]; got.State != bootctl.Pending || got.Version != version || st.Next != slot {
			return fmt.Errorf("staging version %s in slot %v: slot is %s with version %s, %v boots next", version, slot, got.State, got.Version, st.Next)
		}
		return nil
	})
}

func (d *demo) brokenUpdate(ctx context.Context) error {
	if err := d.tl.step("abupdate build: version 3, broken, as a ready-made update", func() error { return d.buildBroken(ctx) }); err != nil {
		return err
	}
	if err := d.apply(ctx, bootctl.SlotA, "3"); err != nil {
		return err
	}
	return d.tl.step("reboot: three tries of slot A fail, slot B comes back by itself", func() error { return d.fallBack(ctx) })
}

// buildBroken flattens the image here, so that the device only has to write
// what it receives.
func (d *demo) buildBroken(ctx context.Context) error {
	if err := d.registry.publish(ctx, d.set.Broken, "3"); err != nil {
		return err
	}
	from, to := d.registry.addr+"/"+repository+":3", d.registry.addr+"/"+repository+":"+stable
	if _, err := d.abupdate(ctx, "build", from, "--push", to); err != nil {
		return err
	}
	d.tl.note("$ abupdate build %s --push %s", from, to)
	d.tl.note("its sshd_config has a typo: nobody could log in")
	return nil
}

// fallBack watches slot A fail and slot B come back. A failing boot may end
// before its agent can speak, so the tries are counted by the boot state.
func (d *demo) fallBack(ctx context.Context) error {
	if err := d.device.reboot(ctx); err != nil {
		return err
	}
	for {
		b, err := d.device.nextBoot(ctx)
		if err != nil {
			return err
		}
		if b.Slot == bootctl.SlotB.String() {
			break
		}
		d.tl.note("slot %s, version %s, try %d: sshd does not start, systemd reboots", b.Slot, b.Version, b.Booted.Try)
	}
	if err := d.device.settled(ctx); err != nil {
		return err
	}
	st, err := d.device.status(ctx)
	if err != nil {
		return err
	}
	if st.Fallback == nil || st.Slots["a"].State != bootctl.Bad || st.Booted == nil || *st.Booted != bootctl.SlotB {
		return fmt.Errorf("falling back: status is %+v", *st)
	}
	out, err := d.device.run(ctx, "abupdate", "status")
	if err != nil {
		return err
	}
	d.tl.note("device# abupdate status\n%s", out)
	again, err := d.device.vm.Run(ctx, "", "abupdate", "apply", "--quiet")
	if err != nil {
		return err
	}
	if again.Exit == 0 {
		return fmt.Errorf("applying version 3 again: it was not refused: %s", again.Stdout)
	}
	d.tl.note("device# abupdate apply\n%s(exit code %d)", again.Stderr, again.Exit)
	return nil
}

func (d *demo) factoryReset(ctx context.Context) error {
	return d.tl.step("abupdate factory-reset, and a reboot that carries it out", func() error {
		out, err := d.device.run(ctx, "abupdate", "factory-reset", "--yes")
		if err != nil {
			return err
		}
		d.tl.note("device# abupdate factory-reset --yes\n%s", out)
		if err := d.device.reboot(ctx); err != nil {
			return err
		}
		if _, err := d.arrive(ctx, bootctl.SlotB, "2"); err != nil {
			return err
		}
		if _, err := d.device.shell(ctx, "test ! -e /var/lib/app"); err != nil {
			return fmt.Errorf("looking for /var/lib/app after the factory reset: it is still there (%w)", err)
		}
		d.tl.note("/var/lib/app is gone; the device has a new SSH host key; both slots are as they were")
		return nil
	})
}

func (d *demo) powerOff(ctx context.Context) error {
	return d.tl.step("power off", func() error {
		ctx, cancel := context.WithTimeoutCause(ctx, bootLimit, errBoot)
		defer cancel()
		if _, err := d.device.run(ctx, "systemctl", "--no-block", "poweroff"); err != nil {
			return err
		}
		return d.device.vm.Wait(ctx)
	})
}

// abupdate runs the program on this machine and returns what it printed.
func (d *demo) abupdate(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(d.opt.BinDir, "abupdate"), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it cleans up
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, d.log()), io.MultiWriter(&errOut, d.log())
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("abupdate %s: %w: %s", args[0], err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// log is where programs' output goes.
func (d *demo) log() io.Writer {
	if d.opt.Verbose {
		return d.opt.Out
	}
	return d.tl
}
