package updater

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/updater/compose"
)

// BuildOptions says what to make of an image, and where to.
type BuildOptions struct {
	Ref     string
	Dir     string // OCI layout to put the update into; "" for none
	Tag     string // of the update in Dir, may hold Fields; "" is the version
	Raw     string // file to write the bare slot image to; "" for none
	Push    string // registry reference to send the update to, may hold Fields; "" for none
	TempDir string // where the image is made; "" is beside the output

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
	Dir     string         `json:"dir,omitempty"`
	Tag     string         `json:"tag,omitempty"`
	Raw     string         `json:"raw,omitempty"`
	Pushed  string         `json:"pushed,omitempty"`
	Digest  string         `json:"digest,omitempty"` // of the update's OCI manifest
	Dropped map[string]int `json:"dropped_xattrs,omitempty"`
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
	start := startUsage()
	img, plan, err := ReadImage(ctx, opt.Ref, opt.Source, opt.Progress)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	copt := opt.Compose
	copt.Squashfs, copt.Version, copt.Source = opt.Source.Squashfs, opt.Source.Version, RecordedSource(img.Reference())
	copt.Progress = func(done, total int64) { opt.Progress.Report(StepWrite, done, total) }
	desc, err := compose.Describe(ctx, img, plan, copt)
	if err != nil {
		return nil, err
	}
	tmp, err := opt.workDir()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	made, err := composeFiles(ctx, plan, tmp, desc, copt)
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", opt.Ref, err)
	}
	b := &Built{Image: opt.Ref, Manifest: made.Manifest, Dropped: plan.Dropped}
	if err := b.deliver(ctx, tmp, img.Reference(), made, opt); err != nil {
		return nil, err
	}
	b.count(img, plan, made.Stats, start.since(), opt)
	return b, nil
}

func (b *Built) count(img *oci.Image, plan *oci.Plan, stats squashfs.Stats, took Usage, opt BuildOptions) {
	b.BuildStats = BuildStats{
		Files: plan.Files, LayerBytes: img.Size(), FileBytes: plan.Bytes,
		Duplicates: stats.Duplicates, DuplicateBytes: stats.DuplicateBytes,
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

// ReadImage resolves an ordinary image and reads its layers' headers.
func ReadImage(ctx context.Context, name string, opt SourceOptions, progress Progress) (*oci.Image, *oci.Plan, error) {
	ref, err := oci.ParseReference(name)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Usage, err)
	}
	progress.Report(StepResolve, 0, 0)
	opt.Registry.Progress = registryProgress(progress)
	img, err := oci.Resolve(ctx, ref, opt.Registry)
	if err != nil {
		return nil, nil, err
	}
	if img.IsUpdate() {
		err = fault.Errorf(fault.Usage, "%s is an update already; an image is wanted", ref)
	}
	var plan *oci.Plan
	if err == nil {
		var index *oci.Index
		if index, err = oci.ReadIndex(ctx, img); err == nil {
			plan, err = index.Plan()
		}
	}
	if err != nil {
		img.Close()
		return nil, nil, err
	}
	return img, plan, nil
}

func (opt BuildOptions) nowhere() bool { return opt.Dir == "" && opt.Raw == "" && opt.Push == "" }

var errNowhere = fault.Errorf(fault.Usage, "nowhere to build to: give a directory, --raw or --push")

// workDir makes a directory on the file system of the output, so that moving
// into place is a rename.
func (opt BuildOptions) workDir() (string, error) {
	parent := opt.TempDir
	if parent == "" {
		switch {
		case opt.Dir != "":
			parent = filepath.Dir(filepath.Clean(opt.Dir))
		case opt.Raw != "":
			parent = filepath.Dir(opt.Raw)
		}
	}
	dir, err := os.MkdirTemp(parent, ".abupdate-build-*")
	if err != nil {
		return "", fmt.Errorf("making a working directory: %w", err)
	}
	return dir, nil
}

// Names in the working directory.
const (
	squashfsFile = "squashfs"
	treeFile     = "tree"
	layoutDir    = "layout"
	rawFile      = "raw"
)

// composeFiles makes squashfs and tree as files in dir.
func composeFiles(ctx context.Context, plan *oci.Plan, dir string, desc manifest.Manifest, opt compose.Options) (*compose.Result, error) {
	f, err := os.Create(filepath.Join(dir, squashfsFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	made, err := compose.Compose(ctx, plan, compose.Sink(f), desc, opt)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	t, err := os.Create(filepath.Join(dir, treeFile))
	if err != nil {
		return nil, err
	}
	defer t.Close()
	if _, err := made.Tree.WriteTo(t); err != nil {
		return nil, err
	}
	return made, t.Close()
}
