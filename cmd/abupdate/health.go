package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
)

func newHealth(a *app) *cobra.Command {
	var opt updater.HealthOptions
	var config string
	var noReboot bool
	cmd := &cobra.Command{
		Use:     "health",
		GroupID: groupDevice,
		Short:   "Examine the booted system, and confirm its slot or give it up",
		Long: `Waits for boot-complete.target where systemd runs, runs the checks in
/usr/lib/abupdate/health.d and /etc/abupdate/health.d, reads the slot before its
first confirmation, and then confirms the booted slot as mark-good does. When a
required check does not pass, a new system is marked bad with the check's name, and
the machine reboots into the other slot, if that is good; a system that was good
before is not confirmed this time. abupdate-mark-good.service calls it at every boot.
After that the selector is brought up to date, as selector update does; that this
fails is told, and changes nothing else. docs/health.md has the rest.

Exit code 1 when a required check does not pass, 4 when the slot is damaged.`,
		Example: lines("abupdate health", "abupdate health --only"),
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := updater.ReadConfig(config)
			if err != nil {
				return err
			}
			opt.Config, opt.Progress = c.Health, a.progress.report
			report, err := updater.Health(cmd.Context(), openBooted, opt)
			if report == nil {
				return err
			}
			if err := a.print(report, func(w io.Writer) { printHealth(w, report) }); err != nil {
				return err
			}
			if report.Healthy && report.Confirmed && !opt.Only {
				a.selectorAfter(config)
			}
			if !report.MarkedBad || noReboot {
				return err
			}
			a.complain(fmt.Errorf("%w; rebooting", err))
			if err := rebootSystem(); err != nil {
				return err
			}
			return fault.Wrap(fault.KindOf(err), errSilent)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&opt.Only, "only", false, "run the checks and change nothing")
	fs.BoolVar(&noReboot, "no-reboot", false, "do not reboot when the slot is marked bad")
	fs.StringVar(&config, "config", updater.ConfigDir, "`DIR` with config.toml and config.d")
	return cmd
}

// openBooted opens the disk that this machine runs from, for commands that
// take no other.
func openBooted(access updater.Access) (*updater.System, error) {
	sys, err := updater.Open(updater.OpenOptions{Access: access})
	if errors.Is(err, updater.ErrNotBooted) {
		return nil, fault.Wrap(fault.Usage, updater.ErrNotBooted)
	}
	return sys, err
}

func printHealth(w io.Writer, r *updater.HealthReport) {
	for _, c := range r.Checks {
		class, result := "required", "passed"
		if !c.Required {
			class = "wanted"
		}
		if !c.Passed {
			result = "FAILED"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f s\t%s\n", result, class, c.Name, c.Seconds, printable(c.Reason))
	}
	if r.Read {
		fmt.Fprintf(w, "slot %v was read against its hash tree\n", r.Slot)
	}
	switch {
	case r.MarkedBad:
		fmt.Fprintf(w, "slot %v (version %s) is bad; %v boots next\n", r.Slot, orDash(r.Version), r.Next)
	case r.Confirmed:
		fmt.Fprintf(w, "slot %v (version %s) is good\n", r.Slot, orDash(r.Version))
	default:
		fmt.Fprintf(w, "slot %v (version %s) is not confirmed\n", r.Slot, orDash(r.Version))
	}
}
