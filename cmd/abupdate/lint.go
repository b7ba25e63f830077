package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/lint"
)

// lintFlags are lint's own.
type lintFlags struct {
	slot          disk.Size
	disk          string
	exact, strict bool
	list          bool
	ignore        []string
}

func newLint(a *app) *cobra.Command {
	var source sourceFlags
	var f lintFlags
	cmd := &cobra.Command{
		Use:     "lint IMAGE",
		GroupID: groupBuild,
		Short:   "Tell what makes an image unfit or risky",
		Long: `Looks at an image before it is built: kernel, init, what makes and fills /var, what
confirms a boot, secrets, links, and with --slot-size or --disk its size. Errors
keep a device from booting or from keeping the update; warnings are risks; notes
are worth knowing. docs/lint.md explains all findings. Exits with 1 when there is
an error.

An image's /` + lint.IgnorePath + ` lists findings that are meant to be: a name a
line, then, if it means one path alone, that path; a reason after "#".

` + imageRefs,
		Example: lines(
			"abupdate lint oci:layout:v2",
			"abupdate lint docker://registry.example/os:12.8 --slot-size 1G --strict",
			"abupdate lint oci:layout:v2 --ignore var-content,private-key --json",
			"abupdate lint --list"),
		Args: func(cmd *cobra.Command, args []string) error {
			if f.list {
				return exactly()(cmd, args)
			}
			return exactly("IMAGE")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.list {
				return a.print(map[string]any{"rules": lint.Rules()}, printRules)
			}
			opt, err := source.options()
			if err != nil {
				return err
			}
			report, err := a.lint(cmd.Context(), args[0], opt, f)
			if err != nil {
				return err
			}
			if err := a.print(report, func(w io.Writer) { printReport(w, report) }); err != nil {
				return err
			}
			return f.verdict(report)
		},
	}
	fs := cmd.Flags()
	fs.Var(sizeFlag{&f.slot}, "slot-size", "`SIZE` of the slot that the image has to fit in")
	fs.Var(pathFlag{&f.disk}, "disk", "block device or disk image `FILE` whose smaller slot the image has to fit in")
	fs.BoolVar(&f.exact, "exact", false, "pack the image to find out its size, and throw the result away")
	fs.BoolVar(&f.strict, "strict", false, "exit with 1 for warnings too")
	fs.StringSliceVar(&f.ignore, "ignore", nil, "leave out findings: `NAME,...`; may be repeated")
	fs.BoolVar(&f.list, "list", false, "print all rules")
	source.registry(fs)
	source.pack(fs, "layout")
	return cmd
}

// lint reads the image and checks it.
func (a *app) lint(ctx context.Context, name string, opt updater.SourceOptions, f lintFlags) (*lint.Report, error) {
	var lopt lint.Options
	for _, s := range f.ignore {
		ig, err := lint.ParseIgnore(s)
		if err != nil {
			return nil, fault.Errorf(fault.Usage, "--ignore: %w (see abupdate lint --list)", err)
		}
		lopt.Ignore = append(lopt.Ignore, ig)
	}
	var err error
	if lopt.Slot, err = f.slotBytes(); err != nil {
		return nil, err
	}
	img, plan, err := updater.ReadImage(ctx, name, opt, a.progress.report)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	lopt.Architecture, lopt.Labels, lopt.Dropped = img.Architecture(), img.Labels(), plan.Dropped
	lopt.Version, lopt.Compression = opt.Version, opt.Squashfs.Compression.String()
	lopt.Layers, lopt.Compressed = len(img.Layers()), img.Size()
	if f.exact {
		if lopt.ExactBytes, err = packedSize(ctx, img, opt.Squashfs); err != nil {
			return nil, err
		}
	}
	report, err := lint.Check(ctx, plan, lopt)
	if err != nil {
		return nil, fmt.Errorf("linting %s: %w", name, err)
	}
	return report, nil
}

// slotBytes is the size of the slot to fit in, 0 when none was named.
func (f lintFlags) slotBytes() (int64, error) {
	switch {
	case f.disk != "" && f.slot != 0:
		return 0, fault.Errorf(fault.Usage, "--slot-size and --disk exclude each other")
	case f.exact && f.disk == "" && f.slot == 0:
		return 0, fault.Errorf(fault.Usage, "--exact needs --slot-size or --disk to compare with")
	case f.disk == "":
		return int64(f.slot), nil
	}
	dev, err := blockdev.Open(f.disk, blockdev.ReadOnly)
	if err != nil {
		return 0, fault.Errorf(fault.Usage, "opening the disk: %w", err)
	}
	defer dev.Close()
	d, err := partitions.Open(dev)
	if err != nil {
		return 0, fault.Errorf(fault.Usage, "reading %s: %w", f.disk, err)
	}
	var least int64
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		p, err := d.SlotPartition(slot)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", f.disk, err)
		}
		if least == 0 || p.Size < least {
			least = p.Size
		}
	}
	return least, nil
}

// A discardSink is where a squashfs goes that nobody wants.
type discardSink struct{}

func (discardSink) Write(p []byte) (int, error) { return len(p), nil }
func (discardSink) WriteFirst([]byte) error     { return nil }

// packedSize packs the image for nothing but its size. Build would refuse an
// image without a kernel or an architecture; here that is a finding.
func packedSize(ctx context.Context, img *oci.Image, opt squashfs.Options) (int64, error) {
	w, err := squashfs.NewWriter(discardSink{}, opt)
	if err != nil {
		return 0, err
	}
	defer w.Abort()
	plan, err := oci.Read(ctx, img, w)
	if err != nil {
		return 0, err
	}
	stats, err := w.Close(plan.Tree)
	if err != nil {
		return 0, fmt.Errorf("packing the image: %w", err)
	}
	return stats.Bytes, nil
}

// verdict is the error that gives the exit code.
func (f lintFlags) verdict(r *lint.Report) error {
	switch {
	case r.Errors > 0:
		return fmt.Errorf("linting: %s", count(r.Errors, "error"))
	case f.strict && r.Warnings > 0:
		return fmt.Errorf("linting: %s", count(r.Warnings, "warning"))
	}
	return nil
}
