package updater

import (
	"context"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/updater/compose"
	"github.com/abupdate/abupdate/verity"
)

// An Image is an ordinary image that goes into a slot. Its config is known,
// its layers are not read yet.
type Image struct {
	*oci.Image
	opt   compose.Options
	phase *phase
}

// OpenImage finds an ordinary image.
func OpenImage(ctx context.Context, name string, opt SourceOptions, progress Progress) (*Image, error) {
	img, phase, err := openReference(ctx, name, opt, progress)
	if err != nil {
		return nil, err
	}
	if img.IsUpdate() {
		img.Close()
		return nil, fault.Errorf(fault.Usage, "%v is an update already; an image is wanted", img.Reference())
	}
	return newImage(img, opt, phase), nil
}

func openReference(ctx context.Context, name string, opt SourceOptions, progress Progress) (*oci.Image, *phase, error) {
	ref, err := oci.ParseReference(name)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Usage, err)
	}
	progress.Report(StepResolve, 0, 0)
	phase := &phase{progress: progress, remote: !ref.Local()}
	opt.Registry.Progress = phase.report
	img, err := oci.Resolve(ctx, ref, opt.Registry)
	return img, phase, err
}

func newImage(img *oci.Image, opt SourceOptions, phase *phase) *Image {
	return &Image{Image: img, phase: phase, opt: compose.Options{
		Squashfs: opt.Squashfs, Version: opt.Version, Source: recordedSource(img.Reference()),
	}}
}

// ReadImage finds an ordinary image and reads its layers' headers.
func ReadImage(ctx context.Context, name string, opt SourceOptions, progress Progress) (*oci.Image, *oci.Plan, error) {
	im, err := OpenImage(ctx, name, opt, progress)
	if err != nil {
		return nil, nil, err
	}
	im.phase.begin(StepFetch)
	plan, err := oci.Read(ctx, im.Image, nil)
	if err != nil {
		im.Close()
		return nil, nil, err
	}
	return im.Image, plan, nil
}

// Describe returns what the image's config tells of it.
func (im *Image) Describe() manifest.Manifest { return compose.Describe(im.Image, im.opt) }

// ReadHeaders reads the layers to their end, but none of the files, and
// returns all that can be known before the image is packed.
func (im *Image) ReadHeaders(ctx context.Context) (*oci.Plan, manifest.Manifest, error) {
	m := im.Describe()
	im.phase.begin(StepFetch)
	plan, err := oci.ReadWith(ctx, im.Image, nil, oci.ReadOptions{Local: im.opt.Local})
	if err != nil {
		return nil, m, err
	}
	return plan, m, compose.DescribeFiles(ctx, &m, plan, im.opt)
}

// Compose reads the image once and packs it into sink. The lowest level of the
// hash tree is kept in hashes, or in memory when that is nil.
func (im *Image) Compose(ctx context.Context, sink squashfs.Sink, hashes verity.Store) (*compose.Result, error) {
	im.phase.begin(StepWrite)
	opt := im.opt
	opt.Hashes = hashes
	return compose.Compose(ctx, im.Image, sink, opt)
}

// recordedSource is how a manifest names the image it was made from. Only
// registries mean something on another machine.
func recordedSource(ref oci.Reference) string {
	if ref.Local() {
		return ""
	}
	return ref.String()
}

// A phase turns the progress of reading layers into events. Bytes are those of
// the layers, compressed.
type phase struct {
	progress Progress
	step     Step
	remote   bool // what is not at hand comes over the line

	now, before int64 // bytes fetched in this step, and in those before
}

func (p *phase) begin(step Step) {
	p.step = step
	p.before, p.now = p.fetched(), 0
}

// fetched is what came over the line in all.
func (p *phase) fetched() int64 { return p.before + p.now }

func (p *phase) report(e oci.Progress) {
	event := Event{Step: p.step, Done: e.Done, Total: e.Total, Copied: e.Local}
	if p.remote {
		p.now = e.Done - e.Local
		event.Fetched = p.now
	}
	p.progress.Tell(event)
}
