package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/compose"
	"github.com/abupdate/abupdate/updater/diff"
)

func newInspect(a *app) *cobra.Command {
	var source sourceFlags
	var opt updater.LookOptions
	var trusted []string
	cmd := &cobra.Command{
		Use:     "inspect REF | FILE | SLOT [--disk DISK]",
		GroupID: groupBuild,
		Short:   "Show what an image, an update or a slot is",
		Long: `Shows what an image, an update, the file that "build --raw" made, or a slot (a, b,
recovery) of a disk says of itself: version, architecture, kernel, sizes, hashes, and
of an image or update its blobs, labels, annotations, subject, referrers, and the signatures
beside it, as cosign puts them there. They are checked with the keys of --trust and,
on a device, with those that it trusts.

--files and --packages list what is in it. The layers of an ordinary image are read
to their end; its root hash comes to be when it is built. Of an update the squashfs is
fetched, into the system's temporary directory or --temp, for these lists only.

` + imageRefs,
		Example: lines(
			"abupdate inspect registry.example/os-update:12.8",
			"abupdate inspect oci:layout:v1 --json",
			"abupdate inspect v2.img --packages",
			"abupdate inspect b --disk disk.raw --files"),
		Args: exactly("REF"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if opt.Source, err = source.options(); err != nil {
				return err
			}
			if opt.Disk != "" {
				if _, err := optionalSlot(args); err != nil {
					return err
				}
			}
			if opt.Keyring, err = updater.ReadKeyring(updater.TrustDirs, trusted); err != nil {
				return err
			}
			opt.Progress = a.progress.report
			in, err := updater.Look(cmd.Context(), args[0], opt)
			if err != nil {
				return err
			}
			return a.print(in, func(w io.Writer) {
				printInspected(w, in)
				if opt.Packages {
					printPackages(w, in)
				}
				if opt.Files {
					printFiles(w, in.FileList)
				}
			})
		},
	}
	diskFlag(cmd, &opt.Disk)
	trustFlag(cmd, &trusted)
	cmd.Flags().BoolVar(&opt.Files, "files", false, "list the files")
	cmd.Flags().BoolVar(&opt.Packages, "packages", false, "list the packages (dpkg's or apk's)")
	tempFlag(cmd, &opt.TempDir)
	source.registry(cmd.Flags())
	return cmd
}

// tempFlag adds --temp, for commands that look into images.
func tempFlag(cmd *cobra.Command, p *string) {
	cmd.Flags().StringVar(p, "temp", "", "`DIR` for a squashfs while its files are read (default: the system's temporary directory)")
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
	printSignatures(w, "signatures", in.SignatureStatus)
	for _, found := range in.SignatureList {
		fmt.Fprintf(w, "signature\t%s, %s\n", found.Kind, cmp.Or(found.SignedBy, "by no key that is known"))
	}
	for _, b := range in.Blobs {
		fmt.Fprintf(w, "%s\t%s  %s  %s\n", b.Role, b.Digest, bytesText(b.Bytes), printable(b.MediaType))
	}
	if s := in.Subject; s != nil {
		fmt.Fprintf(w, "subject\t%s  %s\n", s.Digest, printable(s.MediaType))
	}
	for _, r := range in.Referrers {
		fmt.Fprintf(w, "referrer\t%s  %s\n", r.Digest, printable(strings.TrimSpace(r.ArtifactType+"  "+r.Annotations[compose.LabelVersion])))
	}
	printMap(w, "annotation", in.Annotations)
	printMap(w, "label", in.Labels)
	printDropped(w, in.Dropped)
}

func printMap(w io.Writer, name string, m map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(w, "%s\t%s = %s\n", name, printable(key), printable(m[key]))
	}
}

func printPackages(w io.Writer, in *updater.Inspected) {
	if in.PackageDatabase == "" {
		fmt.Fprintln(w, "packages\tno database of dpkg or apk is in it")
		return
	}
	var total int64
	for _, p := range in.Packages {
		total += p.Bytes
	}
	fmt.Fprintf(w, "packages\t%d with %s installed, by %s\n", len(in.Packages), bytesText(total), in.PackageDatabase)
	fmt.Fprintln(w, "\npackage\tversion\tarchitecture\tinstalled")
	for _, p := range in.Packages {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", printable(p.Name), printable(p.Version), printable(orDash(p.Architecture)), bytesText(p.Bytes))
	}
}

func printFiles(w io.Writer, files []diff.Listed) {
	fmt.Fprintln(w, "\nmode\towner\tbytes\ttime\ttype\tpath")
	for _, f := range files {
		path := printable(f.Path)
		if f.Target != "" {
			path += " -> " + printable(f.Target)
		}
		if f.Mode == "" { // a hardlink
			fmt.Fprintf(w, "\t\t\t\t%s\t%s\n", f.Type, path)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", f.Mode, f.Owner(), f.Bytes, f.Time, f.Type, path)
	}
}
