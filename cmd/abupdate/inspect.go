package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/updater"
)

func newInspect(a *app) *cobra.Command {
	var source sourceFlags
	var disk string
	cmd := &cobra.Command{
		Use:     "inspect REF | FILE | SLOT [--disk DISK]",
		GroupID: groupBuild,
		Short:   "Show what an image, an update or a slot is",
		Long: `Shows version, architecture, kernel and sizes of an image, an update, the file that
"build --raw" made, or a slot (a, b, recovery) of a disk. The layers of an ordinary
image are read to their end; its root hash comes to be when it is built.

` + imageRefs,
		Example: lines(
			"abupdate inspect registry.example/os-update:12.8",
			"abupdate inspect oci:layout:v1 --json",
			"abupdate inspect v2.img",
			"abupdate inspect b --disk disk.raw"),
		Args: exactly("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt, err := source.options()
			if err != nil {
				return err
			}
			in, err := a.inspect(cmd.Context(), args[0], disk, opt)
			if err != nil {
				return err
			}
			return a.print(in, func(w io.Writer) { printInspected(w, in) })
		},
	}
	diskFlag(cmd, &disk)
	source.registry(cmd.Flags())
	return cmd
}

// inspect finds out what name is: a slot, a file, or a reference.
func (a *app) inspect(ctx context.Context, name, disk string, opt updater.SourceOptions) (*updater.Inspected, error) {
	slot, err := bootctl.ParseSlot(name)
	if disk != "" || err == nil && slot != bootctl.SlotNone {
		if slot, err = optionalSlot([]string{name}); err != nil {
			return nil, err
		}
		sys, err := updater.Open(updater.OpenOptions{Disk: disk})
		if err != nil {
			return nil, err
		}
		defer sys.Close()
		return sys.InspectSlot(slot)
	}
	if st, err := os.Stat(name); err == nil && st.Mode().IsRegular() {
		return updater.InspectRaw(name)
	}
	return updater.Inspect(ctx, name, opt, a.progress.report)
}

func printInspected(w io.Writer, in *updater.Inspected) {
	fmt.Fprintf(w, "%s\t%s\n", in.Kind, in.Name)
	if in.Digest != "" {
		fmt.Fprintf(w, "digest\t%s\n", in.Digest)
	}
	printManifest(w, &in.Manifest)
	if in.Layers != 0 {
		fmt.Fprintf(w, "layers\t%d, %s to fetch\n", in.Layers, bytesText(in.Fetched))
	}
	if in.Files != 0 {
		fmt.Fprintf(w, "files\t%d with %s\n", in.Files, bytesText(in.FileBytes))
	}
	printDropped(w, in.Dropped)
}
