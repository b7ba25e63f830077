package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
)

// order makes a command that changes the boot state and nothing else.
func (a *app) order(cmd *cobra.Command, run func(sys *updater.System, args []string) (*updater.Changed, error), text func(*updater.Changed) string) *cobra.Command {
	var disk string
	diskFlag(cmd, &disk)
	cmd.GroupID = groupDevice
	check := cmd.PreRunE
	cmd.PreRunE = nil
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if check != nil {
			if err := check(cmd, args); err != nil {
				return err
			}
		}
		sys, err := updater.Open(updater.OpenOptions{Disk: disk, Access: updater.Change})
		if err != nil {
			return err
		}
		defer sys.Close()
		done, err := run(sys, args)
		if err != nil {
			return err
		}
		return a.print(done, func(w io.Writer) { fmt.Fprintln(w, text(done)) })
	}
	return cmd
}

func newMarkGood(a *app) *cobra.Command {
	cmd := a.order(&cobra.Command{
		Use:   "mark-good",
		Short: "Confirm the booted slot: it boots from now on",
		Long: `Confirms the slot that was booted. Until then every boot takes a try off a new
system, and apply is refused. health does it after its checks, called by
abupdate-mark-good.service. With --disk it is the slot that was started last.`,
		Args: exactly(),
	}, func(sys *updater.System, _ []string) (*updater.Changed, error) {
		done, err := sys.MarkGood()
		if err == nil {
			_ = sys.UpdateMotd("") // no reason to say that it failed
		}
		return done, err
	}, func(c *updater.Changed) string {
		if !c.Changed {
			return fmt.Sprintf("slot %v was good before", c.Slot)
		}
		return fmt.Sprintf("slot %v (version %s) is good", c.Slot, c.Version)
	})
	confirm := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := confirm(cmd, args); err != nil {
			return err
		}
		if !cmd.Flags().Changed("disk") {
			a.selectorAfter(updater.ConfigDir) // the disk is closed by now
		}
		return nil
	}
	return cmd
}

func newMarkBad(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "mark-bad [SLOT]",
		Short: "Give up a slot: the other one boots, and its image is denied",
		Long: `Marks a slot bad, by default the booted one. It no longer boots on its own, and
apply refuses its image from then on. Refused for the only good slot.`,
		Example: lines("abupdate mark-bad", "abupdate mark-bad b --reason 'no network'"),
		Args:    atMost("SLOT"),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`TEXT` for status and events")
	return a.order(cmd, func(sys *updater.System, args []string) (*updater.Changed, error) {
		slot, err := optionalSlot(args)
		if err != nil {
			return nil, err
		}
		return sys.MarkBad(slot, reason)
	}, func(c *updater.Changed) string {
		return fmt.Sprintf("slot %v is bad; %v boots next", c.Slot, c.Next)
	})
}

func newRollback(a *app) *cobra.Command {
	return a.order(&cobra.Command{
		Use:   "rollback",
		Short: "Let the other slot boot next",
		Long: `Puts the other good slot first. The system that is left behind stays in its slot:
a second rollback goes back to it.`,
		Args: exactly(),
	}, func(sys *updater.System, _ []string) (*updater.Changed, error) {
		return sys.Rollback()
	}, func(c *updater.Changed) string {
		return fmt.Sprintf("slot %v (version %s) boots next", c.Slot, c.Version)
	})
}

func newFactoryReset(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "factory-reset --yes",
		Short: "Make /var anew at the next boot; the slots stay",
		Long: `Saves the order to make /var anew. The next boot carries it out in the initramfs;
cut at any point, it goes on at the boot after.`,
		Args: exactly(),
		PreRunE: func(*cobra.Command, []string) error {
			if !yes {
				return fault.Errorf(fault.Usage, "abupdate factory-reset: everything in /var will be lost: add --yes")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "yes, everything in /var may be lost")
	return a.order(cmd, func(sys *updater.System, _ []string) (*updater.Changed, error) {
		return sys.FactoryReset()
	}, func(*updater.Changed) string {
		return "the next boot makes /var anew"
	})
}

// optionalSlot parses the argument of a command that takes a slot.
func optionalSlot(args []string) (bootctl.Slot, error) {
	if len(args) == 0 {
		return bootctl.SlotNone, nil
	}
	slot, err := bootctl.ParseSlot(args[0])
	if err != nil || slot == bootctl.SlotNone {
		return slot, fault.Errorf(fault.Usage, "slot %q is none of a, b, recovery", args[0])
	}
	return slot, nil
}
