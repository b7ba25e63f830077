package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/diff"
)

func newDiff(a *app) *cobra.Command {
	var source sourceFlags
	var opt updater.DiffOptions
	var files, packages bool
	gap := disk.Size(updater.DefaultGap)
	cmd := &cobra.Command{
		Use:     "diff OLD NEW",
		GroupID: groupBuild,
		Short:   "Show what changed between two images, updates or slots, and what an update would fetch",
		Long: `Compares two systems, each an image, an update, the file that "build --raw" made, or
a slot (a, b, recovery; of the disk of --disk): what they say of themselves, their
packages, their files, and how many bytes and ranges a device that runs OLD would
fetch for NEW.

Packages are those of dpkg (var/lib/dpkg/status or status.d) or apk. Files are compared
by path: type, mode, owner, time, extended attributes, what links lead to, content. The
20 largest changes are shown; --files and --packages show all, and so does --json.

A device fetches an update's hash tree, and then those 4 KiB blocks of its squashfs
whose hash the tree of the system that it runs does not have. Missing blocks that are
no further apart than --gap are fetched in one range, and others where there would be
more ranges than --max-ranges; what is fetched in vain is counted. Ordinary images are
flattened as build does it, with the same options, for this.

The squashfs of images and updates lies in the system's temporary directory or --temp
meanwhile; --no-files needs no room, and of an update fetches the hash tree alone.

` + strings.ReplaceAll(imageRefs, "IMAGE is", "OLD and NEW are"),
		Example: lines(
			"abupdate diff registry.example/os-update:12.7 registry.example/os-update:12.8",
			"abupdate diff oci:layout:v1 oci:layout:v2 --files",
			"abupdate diff a registry.example/os-update:12.8 --no-files",
			"abupdate diff a b --disk disk.raw --json"),
		Args: exactly("OLD", "NEW"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			opt.Old, opt.New, opt.Gap = args[0], args[1], int64(gap)
			if opt.Look.Source, err = source.options(); err != nil {
				return err
			}
			switch {
			case opt.Limit < 0:
				return fault.Errorf(fault.Usage, "--max-ranges is %d; want 0 for any number, or more", opt.Limit)
			case opt.Look.Disk != "" && !isSlot(args[0]) && !isSlot(args[1]):
				return fault.Errorf(fault.Usage, "--disk says where a slot is, and neither %q nor %q is a, b or recovery", args[0], args[1])
			}
			opt.Look.Progress = a.progress.report
			d, err := updater.Diff(cmd.Context(), opt)
			if err != nil {
				return err
			}
			return a.print(d, func(w io.Writer) { printDifference(w, d, files, packages) })
		},
	}
	fs := cmd.Flags()
	diskFlag(cmd, &opt.Look.Disk)
	fs.BoolVar(&files, "files", false, "show every file that changed")
	fs.BoolVar(&packages, "packages", false, "show every package that changed")
	fs.BoolVar(&opt.NoFiles, "no-files", false, "compare hash trees and manifests only")
	fs.Var(sizeFlag{&gap}, "gap", "join missing blocks that are this `SIZE` or less apart")
	fs.IntVar(&opt.Limit, "max-ranges", updater.DefaultRanges, "join further until there are no more than `N` ranges; 0 for any number")
	tempFlag(cmd, &opt.Look.TempDir)
	source.registry(fs)
	source.pack(fs, "layout")
	return cmd
}

func isSlot(name string) bool {
	slot, err := bootctl.ParseSlot(name)
	return err == nil && slot != bootctl.SlotNone
}

// shownChanges is how many files and packages are shown unless all are asked
// for.
const shownChanges = 20

func printDifference(w io.Writer, d *updater.Difference, allFiles, allPackages bool) {
	for _, side := range []struct {
		name string
		in   *updater.Inspected
	}{{"old", d.Old}, {"new", d.New}} {
		kind := side.in.Kind + " " // a slot has it in its name
		fmt.Fprintf(w, "%s\t%s%s\n", side.name, kind, strings.TrimPrefix(side.in.Name, kind))
	}
	for _, detail := range append(d.Fields, d.Labels...) {
		fmt.Fprintf(w, "%s\t%s\n", printable(detail.Name), fromTo(detail))
	}
	printFetch(w, &d.Fetch)
	if d.Packages != nil {
		printPackageChanges(w, d.Packages, limit(allPackages))
	} else if d.Files != nil {
		fmt.Fprintln(w, "packages\tnot compared: not both have a database of dpkg or apk")
	}
	if d.Files != nil {
		printFileChanges(w, d.Files, limit(allFiles))
	}
}

func limit(all bool) int {
	if all {
		return -1
	}
	return shownChanges
}

func fromTo(d diff.Detail) string {
	return orDash(printable(d.Old)) + " -> " + orDash(printable(d.New))
}

func printFetch(w io.Writer, f *diff.Fetch) {
	if f.OtherSalt {
		fmt.Fprintln(w, "to fetch\tall of it: the hash trees have different salts")
	}
	fmt.Fprintf(w, "to fetch\t%s, %.1f %% of the image's %s, in %s\n", bytesText(f.TotalBytes), f.Percent, bytesText(f.ImageBytes), counted(f.Ranges, "range"))
	fmt.Fprintf(w, "\t%s in %s, %s in gaps of up to %s, %s of hash tree and manifest\n",
		bytesText(f.MissingBytes), counted(f.MissingBlocks, "block"), bytesText(f.WasteBytes), bytesText(f.GapBytes), bytesText(f.MetadataBytes))
	fmt.Fprintf(w, "\t%d blocks are on the device, %d are in the image again\n", f.LocalBlocks, f.RepeatedBlocks)
}

func printPackageChanges(w io.Writer, p *diff.PackageChanges, shown int) {
	fmt.Fprintf(w, "packages\t%d added, %d removed, %d upgraded, %d downgraded, %d unchanged; installed %s -> %s (%s)\n",
		p.Added, p.Removed, p.Upgraded, p.Downgraded, p.Same, bytesText(p.OldBytes), bytesText(p.NewBytes), signed(p.NewBytes-p.OldBytes))
	if len(p.Changes) == 0 {
		return
	}
	fmt.Fprintln(w, "\nsize\tpackage\tchange\tversion")
	for _, c := range cut(p.Changes, shown) {
		version := c.OldVersion
		switch c.Kind {
		case diff.Added:
			version = c.NewVersion
		case diff.Upgraded, diff.Downgraded:
			version += " -> " + c.NewVersion
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", signed(c.NewBytes-c.OldBytes), printable(c.Name), c.Kind, printable(version))
	}
	more(w, len(p.Changes), shown, "--packages")
}

func printFileChanges(w io.Writer, f *diff.FileChanges, shown int) {
	fmt.Fprintf(w, "\nfiles\t%d added with %s, %d removed with %s\n",
		f.Added.Files, bytesText(f.Added.NewBytes), f.Removed.Files, bytesText(f.Removed.OldBytes))
	fmt.Fprintf(w, "\t%d with other content, %s -> %s\n", f.Content.Files, bytesText(f.Content.OldBytes), bytesText(f.Content.NewBytes))
	fmt.Fprintf(w, "\t%d with other metadata, %d of them only in time; %d unchanged with %s\n",
		f.Metadata.Files, f.TimeOnly, f.Same.Files, bytesText(f.Same.NewBytes))
	if len(f.Changes) == 0 {
		return
	}
	fmt.Fprintln(w, "\nbytes\tchange\tpath")
	for _, c := range cut(f.Changes, shown) {
		details := make([]string, len(c.Details))
		for i, d := range c.Details {
			details[i] = printable(d.Name) + " " + fromTo(d)
		}
		text := ""
		if len(details) > 0 {
			text = "  (" + strings.Join(details, ", ") + ")"
		}
		fmt.Fprintf(w, "%s\t%s\t%s%s\n", sizes(c), c.Kind, printable(c.Path), text)
	}
	more(w, len(f.Changes), shown, "--files")
}

func sizes(c diff.FileChange) string {
	switch {
	case c.Kind == diff.Added || c.OldBytes == c.NewBytes:
		return bytesText(c.NewBytes)
	case c.Kind == diff.Removed:
		return bytesText(c.OldBytes)
	}
	return bytesText(c.OldBytes) + " -> " + bytesText(c.NewBytes)
}

// cut returns the first n of a list, all of it for a negative n.
func cut[T any](list []T, n int) []T {
	if n < 0 {
		return list
	}
	return list[:min(n, len(list))]
}

// more says how many rows were left out.
func more(w io.Writer, total, shown int, flag string) {
	if shown >= 0 && total > shown {
		fmt.Fprintf(w, "... and %d more (%s)\n", total-shown, flag)
	}
}

// signed prints a difference in size.
func signed(n int64) string {
	switch {
	case n > 0:
		return "+" + bytesText(n)
	case n < 0:
		return "-" + bytesText(-n)
	}
	return "0"
}
