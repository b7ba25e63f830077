package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/compose"
)

// imageRefs explains references in the help of every command that takes one.
const imageRefs = `IMAGE is docker://HOST/REPO:TAG or @DIGEST (also bare), oci:DIR[:TAG],
oci-archive:FILE[:TAG] or docker-archive:FILE.`

// sourceFlags say how images are found, read and packed.
type sourceFlags struct {
	platform, spool, version string
	insecure                 bool
	compression, layout      string
	level                    string
	block, limit             disk.Size
	workers                  int
}

// registry adds the flags of finding and reading images.
func (f *sourceFlags) registry(fs *pflag.FlagSet) {
	fs.StringVar(&f.platform, "platform", "", "`OS/ARCH` to pick from a multi-platform image (default: the device's, else this machine's)")
	fs.BoolVar(&f.insecure, "insecure", false, "speak plain HTTP to the registry")
	fs.StringVar(&f.spool, "spool", "", "`DIR` for a layer of a registry that must be read twice (default: /var/lib/abupdate/spool on a device, else the system's temporary directory)")
	fs.Var(sizeFlag{&f.limit}, "limit", "refuse an image with more bytes in a layer, or in its files, uncompressed (default 32G and 64G)")
}

// pack adds the flags of making a squashfs. Commands that make disks have
// "layout" for the disk's and call the squashfs's something else.
func (f *sourceFlags) pack(fs *pflag.FlagSet, layoutFlag string) {
	fs.StringVar(&f.version, "version", "", "`VERSION` of the system (default: the image's label, its os-release, its digest)")
	fs.StringVar(&f.compression, "compression", "zstd", "zstd, gzip or none")
	fs.StringVar(&f.level, "level", "default", "`LEVEL`: fast, default or best, or a number: zstd 1 to 22, gzip 1 to 9")
	fs.Var(sizeFlag{&f.block}, "block-size", "squashfs block size, 4K to 1M (default 128K, 512K with --level best)")
	fs.StringVar(&f.layout, layoutFlag, "aligned", "squashfs `LAYOUT`: aligned keeps blocks of unchanged files equal in the next image; compact saves the padding")
	fs.IntVar(&f.workers, "workers", 0, "parallel compressors (default: one per processor)")
}

// options turns the flags into options.
func (f *sourceFlags) options() (updater.SourceOptions, error) {
	var opt updater.SourceOptions
	opt.Registry.Platform, opt.Registry.Insecure, opt.Registry.SpoolDir = f.platform, f.insecure, f.spool
	opt.Registry.Limits.LayerBytes, opt.Registry.Limits.TotalBytes = int64(f.limit), int64(f.limit)
	opt.Version = f.version
	if f.compression == "" { // a command without pack
		return opt, nil
	}
	var err error
	if opt.Squashfs.Compression, err = squashfs.ParseCompression(f.compression); err != nil {
		return opt, fault.Wrap(fault.Usage, err)
	}
	if opt.Squashfs.Layout, err = squashfs.ParseLayout(f.layout); err != nil {
		return opt, fault.Wrap(fault.Usage, err)
	}
	opt.Squashfs.BlockSize, opt.Squashfs.Workers = int(f.block), f.workers
	if err := parseLevel(f.level, &opt.Squashfs); err != nil {
		return opt, err
	}
	if err := compose.CheckOptions(opt.Squashfs); err != nil {
		return opt, fault.Wrap(fault.Usage, err)
	}
	return opt, nil
}

// parseLevel sets what a level stands for: a number, or a word.
func parseLevel(s string, opt *squashfs.Options) error {
	if n, err := strconv.Atoi(s); err == nil {
		opt.Level = n
		return nil
	}
	preset, err := squashfs.ParsePreset(s)
	if err != nil {
		return err
	}
	preset.Set(opt)
	return nil
}

// composeFlags are build's own about the manifest.
func composeFlags(fs *pflag.FlagSet, opt *compose.Options) {
	fs.StringVar(&opt.Compatible, "compatible", "", "`NAME` of the devices that it is for (default: the image's label "+compose.LabelCompatible+")")
	fs.BoolVar(&opt.NoKernel, "no-kernel", false, "take an image without a kernel; no disk can start it")
}

// sizeFlag is a size on the command line: 512M, 2G.
type sizeFlag struct{ p *disk.Size }

func (f sizeFlag) Type() string       { return "SIZE" }
func (f sizeFlag) Set(s string) error { return f.p.UnmarshalText([]byte(s)) }
func (f sizeFlag) String() string {
	if f.p == nil || *f.p == 0 {
		return ""
	}
	return f.p.String()
}

// diskFlag adds --disk.
func diskFlag(cmd *cobra.Command, p *string) {
	cmd.Flags().StringVar(p, "disk", "", "block device or disk image `FILE` (default: the disk this system booted from)")
}

// lines joins the lines of an example.
func lines(l ...string) string { return "  " + strings.Join(l, "\n  ") }
