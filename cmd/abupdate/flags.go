package main

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/compose"
)

// imageRefs explains references in the help of every command that takes one.
const imageRefs = `IMAGE is docker://HOST/REPO:TAG or @DIGEST (also bare), oci:DIR[:TAG],
oci-archive:FILE[:TAG], docker-archive:FILE, or https://HOST/PATH[:TAG]: an OCI
layout's directory on a web server.`

// sourceFlags say how images are found, read and packed.
type sourceFlags struct {
	platform, spool, version string
	insecure                 bool
	compression, layout      string
	level                    string
	block, limit             disk.Size
	workers                  int

	fs                  *pflag.FlagSet
	configDir           string
	retryFor            time.Duration
	limitRate, lowSpeed updater.Rate
	config              updater.Config // when options has read it
}

// registry adds the flags of finding and reading images.
func (f *sourceFlags) registry(fs *pflag.FlagSet) {
	fs.StringVar(&f.platform, "platform", "", "`OS/ARCH` to pick from a multi-platform image (default: the device's, else this machine's)")
	fs.BoolVar(&f.insecure, "insecure", false, "speak plain HTTP to the registry")
	fs.StringVar(&f.spool, "spool", "", "`DIR` for a layer of a registry that must be read twice (default: /var/lib/abupdate/spool on a device, else the system's temporary directory)")
	fs.StringVar(&f.configDir, "config", updater.ConfigDir, "`DIR` with config.toml, config.d and auth.json")
	fs.DurationVar(&f.retryFor, "retry-for", 0, "`TIME` to go on trying, as 2h, when nothing comes any more (default: a few tries within seconds)")
	fs.Var(rateFlag{&f.limitRate}, "limit-rate", "take no more of the line, in bytes a second")
	fs.Var(rateFlag{&f.lowSpeed}, "low-speed", "break a transfer that makes fewer bytes a second over 30 s, and try again")
	f.fs = fs
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

// maxWorkers is more than anybody has processors for; each takes some MB.
const maxWorkers = 1024

// options turns the flags into options.
func (f *sourceFlags) options() (updater.SourceOptions, error) {
	var opt updater.SourceOptions
	opt.Registry.Platform, opt.Registry.Insecure, opt.Registry.SpoolDir = f.platform, f.insecure, f.spool
	opt.Registry.Limits.LayerBytes, opt.Registry.Limits.TotalBytes = int64(f.limit), int64(f.limit)
	opt.Version = f.version
	if err := f.network(&opt.Registry); err != nil {
		return opt, err
	}
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
	if f.workers < 0 || f.workers > maxWorkers {
		return opt, fault.Errorf(fault.Usage, "--workers is %d; want 1 to %d, or 0 for one per processor", f.workers, maxWorkers)
	}
	if err := parseLevel(f.level, &opt.Squashfs); err != nil {
		return opt, err
	}
	if err := compose.CheckOptions(opt.Squashfs); err != nil {
		return opt, fault.Wrap(fault.Usage, err)
	}
	return opt, nil
}

// network puts the configuration's and the flags' word on the network into opt.
func (f *sourceFlags) network(opt *oci.Options) (err error) {
	if f.config, err = updater.ReadConfig(f.configDir); err != nil {
		return err
	}
	w := f.config.Wire()
	if f.fs.Changed("retry-for") {
		if w.RetryFor = f.retryFor; f.retryFor < 0 {
			return fault.Errorf(fault.Usage, "--retry-for %v: is in the past", f.retryFor)
		}
	}
	if f.fs.Changed("limit-rate") {
		w.Bandwidth = int64(f.limitRate)
	}
	if f.fs.Changed("low-speed") {
		w.LowSpeed = int64(f.lowSpeed)
	}
	opt.Wire = wire.New(w)
	opt.AuthFile = filepath.Join(f.configDir, "auth.json")
	return nil
}

// rateFlag is bytes a second on the command line: 500K, 2M/s.
type rateFlag struct{ p *updater.Rate }

func (f rateFlag) Type() string       { return "SIZE" }
func (f rateFlag) Set(s string) error { return f.p.UnmarshalText([]byte(s)) }
func (f rateFlag) String() string {
	if f.p == nil || *f.p == 0 {
		return ""
	}
	return f.p.String()
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
	fs.StringVar(&opt.MinVersion, "min-version", "", "`VERSION` that a device must run at least (default: the image's label "+compose.LabelMinVersion+")")
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

// pathFlag is a path for which nothing must not stand for the default: the
// disk that runs is not what --disk "$IMAGE" meant.
type pathFlag struct{ p *string }

func (f pathFlag) Type() string { return "string" }
func (f pathFlag) Set(s string) error {
	if s == "" {
		return errors.New("it names nothing")
	}
	*f.p = s
	return nil
}
func (f pathFlag) String() string {
	if f.p == nil {
		return ""
	}
	return *f.p
}

// diskFlag adds --disk.
func diskFlag(cmd *cobra.Command, p *string) {
	cmd.Flags().Var(pathFlag{p}, "disk", "block device or disk image `FILE` (default: the disk this system booted from)")
}

// lines joins the lines of an example.
func lines(l ...string) string { return "  " + strings.Join(l, "\n  ") }
