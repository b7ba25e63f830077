package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
)

func newBuild(a *app) *cobra.Command {
	var opt updater.BuildOptions
	var source sourceFlags
	var jobs int
	var sign keyFlags
	cmd := &cobra.Command{
		Use:     "build IMAGE... (-o DIR | --raw FILE | --push REF)",
		GroupID: groupBuild,
		Short:   "Make updates out of images",
		Long: `Flattens an OCI image into one squashfs with a dm-verity hash tree and packs both,
with a manifest, as an update: an OCI artifact. The same image and options give
the same bytes on every machine. Layers are read once and nothing is unpacked; an
image takes about 40 MB of memory whatever its size, and 140 bytes for each of its
files. --level best is for publishers: it takes 165 MB and four times the processor
time.

` + imageRefs + `

Several images are built side by side, as many at a time as --jobs says; -o takes
all of them, each under a tag of its own. --tag and --push may then hold ` + updater.Fields + `:
version and architecture of the system, and tag and last part of the name of the
image. An image that fails does not stop the others: its error is one line, and the
exit code is that of the first in the order given.

--sign-key signs the update as cosign does with a key pair: its OCI manifest's digest,
under the tag that cosign looks for, in the layout and in the registry.

An update names its image as its subject: pushed to the image's own repository it is
one of the image's referrers, and "apply" of the image finds it there.

--raw writes the bare slot image instead: squashfs, hash tree, manifest, footer.
"veritysetup verify FILE FILE ROOT_HASH --hash-offset=..." reads it.`,
		Example: lines(
			"abupdate build docker://registry.example/os:12.8 -o updates",
			"abupdate build oci:layout:v2 --push registry.example/os-update:12.8",
			"abupdate build oci:layout:a oci:layout:b -o updates --tag '{tag}-{version}' --jobs 2",
			"abupdate build oci:layout:v2 -o updates --sign-key vendor.key",
			"abupdate build oci:layout:v2 --raw v2.img --json"),
		Args: atLeast("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			opt.Progress = a.progress.report
			if opt.Source, err = source.options(); err != nil {
				return err
			}
			if opt.SignKeys, err = sign.read(a.stderr); err != nil {
				return err
			}
			if len(args) > 1 {
				return a.buildAll(cmd.Context(), updater.Batch{Refs: args, Jobs: jobs, Options: opt})
			}
			opt.Ref = args[0]
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
	fs.IntVar(&jobs, "jobs", 0, "images that are built at the same time (default: one for two processors)")
	sign.add(cmd.Flags())
	composeFlags(fs, &opt.Compose)
	source.registry(fs)
	source.pack(fs, "layout")
	return cmd
}

// buildAll builds several images. JSON objects are printed as images are
// finished, text at the end, in the order of the arguments.
func (a *app) buildAll(ctx context.Context, batch updater.Batch) error {
	var failed error
	batch.Done = func(o updater.Outcome) {
		if o.Err == nil && a.json {
			failed = errors.Join(failed, a.printLine(o.Built))
		}
	}
	outcomes, took, err := updater.BuildAll(ctx, batch)
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	a.progress.finish()
	built := 0
	for _, o := range outcomes {
		switch {
		case o.Err != nil:
			a.complain(o.Err)
			if failed == nil {
				failed = o.Err
			}
		case !a.json:
			if err := a.print(nil, func(w io.Writer) { printBuilt(w, o.Built); fmt.Fprintln(w) }); err != nil {
				return err
			}
			fallthrough
		default:
			built++
		}
	}
	if !a.json {
		fmt.Fprintf(a.stdout, "%d of %d images built in %v\n", built, len(outcomes), took)
	}
	switch {
	case failed == nil:
		return nil
	case ctx.Err() != nil:
		return fault.Errorf(fault.Canceled, "%w", errSilent)
	}
	return fault.Errorf(fault.KindOf(failed), "%w", errSilent)
}

func printBuilt(w io.Writer, b *updater.Built) {
	fmt.Fprintf(w, "built from\t%s\n", b.Image)
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
	for _, id := range b.SignedBy {
		fmt.Fprintf(w, "signed by\t%s\n", id)
	}
	if b.Raw != "" {
		fmt.Fprintf(w, "slot image\t%s\n", b.Raw)
	}
	printDropped(w, b.Dropped)
	printBuildStats(w, &b.BuildStats)
}

func printBuildStats(w io.Writer, s *updater.BuildStats) {
	fmt.Fprintf(w, "files\t%d with %s, from layers of %s\n", s.Files, bytesText(s.FileBytes), bytesText(s.LayerBytes))
	fmt.Fprintf(w, "ratio\t%.3f\n", s.Ratio)
	if s.Duplicates > 0 {
		fmt.Fprintf(w, "duplicates\t%d files with %s, kept once\n", s.Duplicates, bytesText(s.DuplicateBytes))
	}
	if s.UnusedBytes > 0 {
		fmt.Fprintf(w, "unused\t%s of the image belong to no file\n", bytesText(s.UnusedBytes))
	}
	if s.LayersReadTwice > 0 {
		fmt.Fprintf(w, "read twice\t%d layers\n", s.LayersReadTwice)
	}
	fmt.Fprintf(w, "took\t%.1f s", s.WallSeconds)
	if s.CPUSeconds > 0 {
		fmt.Fprintf(w, ", %.1f s of processor time", s.CPUSeconds)
	}
	fmt.Fprintln(w)
}
