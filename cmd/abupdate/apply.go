package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
)

func newApply(a *app) *cobra.Command {
	var opt updater.ApplyOptions
	var source sourceFlags
	var disk, config string
	var reboot bool
	cmd := &cobra.Command{
		Use:     "apply [REF]",
		GroupID: groupDevice,
		Short:   "Write an image or update into the other slot and stage it",
		Long: `Writes an update, or an ordinary image, into the slot that is not running, reads
it back, and lets the next boot try it. When this fails, or is interrupted at any
moment, the next boot is what it was before; called again it goes on where it
stopped.

REF is an image or an update that build made: docker://HOST/REPO:TAG or @DIGEST
(also bare), oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE. Without
REF it is "image" of /etc/abupdate/config.toml and config.d/*.toml, else where the
running slot came from.

Refused: while the running slot is not confirmed, an image that failed on this
device before, a lower version, another architecture, kernel or "compatible". Of
an ordinary image the kernel, and the version if no label says it, are known when
its layers have been read, and so have been written: when it is refused then, the
other slot is empty. --check-first reads the layers before, and twice.`,
		Example: lines(
			"abupdate apply",
			"abupdate apply registry.example/os-update:12.8 --reboot",
			"abupdate apply oci:updates:12.8 --disk disk.raw"),
		Args: atMost("REF"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if len(args) > 0 {
				opt.Ref = args[0]
			}
			if reboot && disk != "" {
				return fault.Errorf(fault.Usage, "abupdate apply: --reboot is for the running system, not for --disk")
			}
			if opt.Source, err = source.options(); err != nil {
				return err
			}
			if disk == "" {
				if opt.Config, err = updater.ReadConfig(config); err != nil {
					return err
				}
			}
			opt.Progress = a.progress.report
			return a.apply(cmd, disk, opt, reboot)
		},
	}
	fs := cmd.Flags()
	diskFlag(cmd, &disk)
	fs.BoolVar(&reboot, "reboot", false, "reboot into the new system when it is staged")
	fs.BoolVar(&opt.DryRun, "dry-run", false, "check all that can be checked and write nothing")
	fs.BoolVar(&opt.CheckFirst, "check-first", false, "read the headers of an ordinary image before the other slot is touched; its layers are fetched twice")
	fs.BoolVar(&opt.Allow.Downgrade, "allow-downgrade", false, "take a version lower than the running one")
	fs.BoolVar(&opt.Allow.Denied, "allow-denied", false, "take an image that failed on this device before")
	fs.BoolVar(&opt.Allow.Same, "allow-same", false, "take the image that runs already")
	fs.StringVar(&config, "config", updater.ConfigDir, "`DIR` with config.toml and config.d")
	transferFlags(fs, &opt.Transfer)
	source.registry(fs)
	source.pack(fs, "layout")
	return cmd
}

func (a *app) apply(cmd *cobra.Command, disk string, opt updater.ApplyOptions, reboot bool) error {
	access := updater.Change
	if opt.DryRun {
		access = updater.Read
	}
	sys, err := updater.Open(updater.OpenOptions{Disk: disk, Access: access})
	if err != nil {
		return err
	}
	defer sys.Close()
	done, err := sys.Apply(cmd.Context(), opt)
	if err != nil {
		return err
	}
	if err := a.print(done, func(w io.Writer) { printApplied(w, done) }); err != nil || !reboot || opt.DryRun {
		return err
	}
	return rebootSystem()
}

func printApplied(w io.Writer, r *updater.Applied) {
	switch {
	case r.DryRun:
		fmt.Fprintf(w, "would write version %s into slot %v; nothing was changed\n", r.Version, r.Slot)
	case r.Reused:
		fmt.Fprintf(w, "slot %v holds version %s already, intact; it is staged for the next boot\n", r.Slot, r.Version)
	default:
		fmt.Fprintf(w, "version %s is in slot %v and staged for the next boot\n", r.Version, r.Slot)
	}
	fmt.Fprintf(w, "image\t%s\n", r.Image)
	fmt.Fprintf(w, "digest\t%s\n", r.Digest)
	if r.RootHash != "" {
		fmt.Fprintf(w, "root hash\t%s\n", r.RootHash)
	}
	if r.ImageBytes != 0 {
		fmt.Fprintf(w, "size\t%s, %s of it there before\n", bytesText(r.ImageBytes), bytesText(r.KeptBytes))
	}
	printDropped(w, r.Dropped)
}
