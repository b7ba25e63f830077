package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/selector"
)

func newSelector(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "selector",
		GroupID: groupDevice,
		Short:   "Keep the selector on the ESP up to date with the slot that runs",
		Long: `The selector is what the firmware starts, and it chooses the slot. An image brings
a newer one as /usr/lib/abupdate/selector/BOOTX64.EFI (BOOTAA64.EFI), which its
publisher made, and signed for Secure Boot, with abupdate initramfs --uki. Without
that file nothing is ever due. docs/kernels.md has the rest.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSelectorUpdate(a), newSelectorStatus(a))
	return cmd
}

func newSelectorUpdate(a *app) *cobra.Command {
	var opt updater.SelectorOptions
	var config string
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Write the slot's selector to the ESP, try it once, make it the default",
		Long: `health and mark-good do this after they confirmed the slot. The new selector is
written beside the old one and ordered for the next boot only; once a boot came from
it and its slot is confirmed, it is put first, and the former one second. Two
confirmed boots later the fallback path becomes it, too. One that does not come up
costs one boot, and is not tried again without --retry.

Exit code 5 when the ESP has no room (nothing is written then), 6 when the slot is
not confirmed or its selector did not come up, 77 when nothing is due.`,
		Example: lines("abupdate selector update", "abupdate selector update --retry"),
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			c, err := updater.ReadConfig(config)
			if err != nil {
				return err
			}
			opt.ReplaceFallback = opt.ReplaceFallback || c.Selector.WithoutVariables
			r, err := updateSelector(opt, updater.Change)
			if err != nil {
				return err
			}
			if len(r.Steps) == 0 && r.State != selector.Ordered {
				return fault.Errorf(fault.Nothing, "nothing to do: the slot brings no other selector than the one that was started")
			}
			return a.print(r, func(w io.Writer) { printSelector(w, r) })
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&opt.Retry, "retry", false, "try a selector again that did not come up")
	fs.BoolVar(&opt.ReplaceFallback, "without-variables", false, "on firmware that keeps no variables, replace the only selector")
	fs.StringVar(&config, "config", updater.ConfigDir, "`DIR` with config.toml and config.d")
	return cmd
}

func newSelectorStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show the selector on the ESP, the slot's, and what update would do",
		Example: lines("abupdate selector status --json"),
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			r, err := updateSelector(updater.SelectorOptions{Only: true}, updater.Read)
			if r == nil {
				return err
			}
			return a.print(r, func(w io.Writer) { printSelector(w, r) })
		},
	}
}

func updateSelector(opt updater.SelectorOptions, access updater.Access) (*updater.SelectorReport, error) {
	sys, err := openBooted(access)
	if err != nil {
		return nil, err
	}
	defer sys.Close()
	return sys.UpdateSelector(opt)
}

// selectorAfter goes on with the selector after the slot was confirmed. That
// it fails takes nothing back, and is told.
func (a *app) selectorAfter(config string) {
	if !updater.HasSelector("") {
		return
	}
	c, err := updater.ReadConfig(config)
	if err == nil {
		_, err = updateSelector(updater.SelectorOptions{Options: selector.Options{ReplaceFallback: c.Selector.WithoutVariables}}, updater.Change)
	}
	if err != nil {
		a.complain(fmt.Errorf("the slot is confirmed; its selector is not up to date: %w", err))
	}
}

func printSelector(w io.Writer, r *updater.SelectorReport) {
	fmt.Fprintf(w, "started\t%s\t%s\tkernel %s\t%s\n", orDash(r.Version), orDash(short(r.Digest)), orDash(r.Kernel), r.File)
	fmt.Fprintf(w, "slot's\t%s\t%s\tkernel %s\n", orDash(r.SlotVersion), orDash(short(r.SlotDigest)), orDash(r.SlotKernel))
	fmt.Fprintf(w, "state\t%s\n", r.State)
	if !r.Variables {
		fmt.Fprintln(w, "the firmware keeps no variables")
	}
	for _, step := range r.Steps {
		fmt.Fprintf(w, "step\t%s\n", step)
	}
	if r.Problem != "" {
		fmt.Fprintln(w, r.Problem)
	}
}
