package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/updater"
)

func newBuild(a *app) *cobra.Command {
	var opt updater.BuildOptions
	var source sourceFlags
	cmd := &cobra.Command{
		Use:     "build IMAGE (-o DIR | --raw FILE | --push REF)",
		GroupID: groupBuild,
		Short:   "Make an update out of an image",
		Long: `Flattens an OCI image into one squashfs with a dm-verity hash tree and packs both,
with a manifest, as an update: an OCI artifact. The same image and options give
the same bytes on every machine.

` + imageRefs + `

--raw writes the bare slot image instead: squashfs, hash tree, manifest, footer.
"veritysetup verify FILE FILE ROOT_HASH --hash-offset=..." reads it.`,
		Example: lines(
			"abupdate build docker://registry.example/os:12.8 -o updates",
			"abupdate build oci:layout:v2 --push registry.example/os-update:12.8",
			"abupdate build oci:layout:v2 --raw v2.img --json"),
		Args: exactly("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			opt.Ref, opt.Progress = args[0], a.progress.report
			if opt.Source, err = source.options(); err != nil {
				return err
			}
			built, err := updater.Build(cmd.Context(), opt)
			if err != nil {
				return err
			}
			return a.print(built, func(w io.Writer) { printBuilt(w, built) })
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&opt.Dir, "output", "o", "", "OCI layout `DIR` to put the update into; made when missing")
	fs.StringVar(&opt.Tag, "tag", "", "`TAG` of the update in the layout (default: its version)")
	fs.StringVar(&opt.Raw, "raw", "", "`FILE` for the bare slot image")
	fs.StringVar(&opt.Push, "push", "", "registry `REF` to send the update to")
	fs.StringVar(&opt.TempDir, "temp", "", "working `DIR` (default: beside the output)")
	composeFlags(fs, &opt.Compose)
	source.registry(fs)
	source.pack(fs, "layout")
	return cmd
}

func printBuilt(w io.Writer, b *updater.Built) {
	printManifest(w, &b.Manifest)
	if b.Dir != "" {
		fmt.Fprintf(w, "update\toci:%s:%s\n", b.Dir, b.Tag)
	}
	if b.Pushed != "" {
		fmt.Fprintf(w, "pushed\t%s\n", b.Pushed)
	}
	if b.Digest != "" {
		fmt.Fprintf(w, "digest\t%s\n", b.Digest)
	}
	if b.Raw != "" {
		fmt.Fprintf(w, "slot image\t%s\n", b.Raw)
	}
	printDropped(w, b.Dropped)
}
