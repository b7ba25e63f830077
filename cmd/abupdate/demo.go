package main

import (
	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/demo"
)

func newDemo(a *app) *cobra.Command {
	var opt demo.Options
	cmd := &cobra.Command{
		Use:     "demo",
		GroupID: groupBuild,
		Short:   "Show the whole life of a device on this machine, in QEMU",
		Long: `Makes two versions of a Debian image and a broken one, serves them from a registry
on loopback, and boots a disk in QEMU: update, fallback, factory reset. It prints
what happened and how long it took, and keeps the disk.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opt.Out = a.stdout
			return demo.Run(cmd.Context(), opt)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&opt.KeepDir, "keep", "", "`DIR` for the disk (default dist/demo)")
	fs.StringVar(&opt.CacheDir, "cache", "", "`DIR` for Debian roots (default $ABUPDATE_CACHE, else .cache)")
	fs.StringVar(&opt.BinDir, "bin", "", "`DIR` with abupdate, abinit and guest (default: beside this program)")
	fs.BoolVarP(&opt.Verbose, "verbose", "v", false, "show the serial console and what the programs print")
	return cmd
}
