package updater

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater/compose"
	"github.com/abupdate/abupdate/updater/trust/keys"
)

// BuildOptions says what to make of an image, and where to.
type BuildOptions struct {
	Ref  string
	Dir  string // OCI layout to put the update into; "" for none
	Tag  string // of the update in Dir, may hold Fields; "" is the version
	Raw  string // file to write the bare slot image to; "" for none
	Push string // registry reference to send the update to, may hold Fields; "" for none
	// SignKeys sign the update's OCI manifest, and what lies in Raw.
	SignKeys []*keys.Private
	TempDir  string // where the image is made; "" is beside the output

	Source   SourceOptions
	Compose  compose.Options // its Squashfs and Version are those of Source
	Progress Progress

	alone bool   // nothing else is built meanwhile
	names *names // of the Batch
}

// Built tells what Build made.
type Built struct {
	Image string `json:"image"` // that it was built from
	manifest.Manifest
	Dir      string         `json:"dir,omitempty"`
	Tag      string         `json:"tag,omitempty"`
	Raw      string         `json:"raw,omitempty"`
	Pushed   string         `json:"pushed,omitempty"`
	Digest   string         `json:"digest,omitempty"`    // of the update's OCI manifest
	SignedBy []string       `json:"signed_by,omitempty"` // IDs of the keys
	Dropped  map[string]int `json:"dropped_xattrs,omitempty"`
	BuildStats
}

// BuildStats are the figures of a Build.
type BuildStats struct {
	Files      int     `json:"files"`
	LayerBytes int64   `json:"layer_bytes"` // compressed
	FileBytes  int64   `json:"file_bytes"`  // of all regular files
	Ratio      float64 `json:"ratio"`       // of the image to FileBytes
	// Duplicates are files whose content is in the image once for several.
	Duplicates     int   `json:"duplicates"`
	DuplicateBytes int64 `json:"duplicate_bytes"`
	// UnusedBytes are content in the image that no file names, and
	// LayersReadTwice are layers that took two reads (see docs/adr/0007-one-pass.md).
	UnusedBytes     int64   `json:"unused_bytes"`
	LayersReadTwice int     `json:"layers_read_twice"`
	WallSeconds     float64 `json:"wall_seconds"`
	// CPUSeconds is not known of images that are built at the same time.
	CPUSeconds float64 `json:"cpu_seconds,omitempty"`
}

// Build makes an update out of an image. Outputs appear whole or not at all.
func Build(ctx context.Context, opt BuildOptions) (*Built, error) {
	if opt.nowhere() {
		return nil, errNowhere
	}
	if opt.Push != "" && !hasField(opt.Push) { // else it is known later
		if _, err := oci.ParseReference(opt.Push); err != nil {
			return nil, fault.Wrap(fault.Usage, err)
		}
	}
	if err := cmp.Or(checkFields("--tag", opt.Tag), checkFields("--push", opt.Push)); err != nil {
		return nil, err
	}
	start := startUsage()
	im, err := OpenImage(ctx, opt.Ref, opt.Source, opt.Progress)
	if err != nil {
		return nil, err
	}
	defer im.Close()
	if err := checkVersion(im.Describe().Version); err != nil {
		return nil, err
	}
	im.opt.Compatible, im.opt.MinVersion, im.opt.NoKernel = opt.Compose.Compatible, opt.Compose.MinVersion, opt.Compose.NoKernel
	out, err := newOutput(opt)
	if err != nil {
		return nil, err
	}
	defer out.remove()
	made, err := out.compose(ctx, im)
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", opt.Ref, err)
	}
	if err := checkVersion(made.Manifest.Version); err != nil {
		return nil, err
	}
	b := &Built{Image: opt.Ref, Manifest: made.Manifest, Dropped: made.Plan.Dropped}
	if err := b.deliver(ctx, out, im.Image, made); err != nil {
		return nil, err
	}
	for _, k := range opt.SignKeys {
		b.SignedBy = append(b.SignedBy, k.Public().ID)
	}
	b.count(im, made, start.since(), opt)
	return b, nil
}

func (b *Built) count(im *Image, made *compose.Result, took Usage, opt BuildOptions) {
	plan := made.Plan
	b.BuildStats = BuildStats{
		Files: plan.Files, LayerBytes: im.Size(), FileBytes: plan.Bytes,
		Duplicates: made.Stats.Duplicates, DuplicateBytes: made.Stats.DuplicateBytes,
		UnusedBytes: plan.Unused, LayersReadTwice: plan.SecondReads,
		WallSeconds: seconds(took.Wall),
	}
	if plan.Bytes > 0 {
		b.Ratio = math.Round(1000*float64(b.ImageBytes)/float64(plan.Bytes)) / 1000
	}
	if opt.names == nil || opt.alone {
		b.CPUSeconds = seconds(took.CPU)
	}
}

// seconds rounds to what means something.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

// checkVersion refuses what a device would refuse.
func checkVersion(version string) error {
	if err := manifest.CheckVersion(version); err != nil {
		return fault.Errorf(fault.Usage, "%w: give another with --version", err)
	}
	return nil
}

func (opt BuildOptions) nowhere() bool { return opt.Dir == "" && opt.Raw == "" && opt.Push == "" }

var errNowhere = fault.Errorf(fault.Usage, "nowhere to build to: give a directory, --raw or --push")
