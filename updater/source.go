package updater

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/updater/compose"
	"github.com/abupdate/abupdate/verity"
)

// A source is an image on its way into a slot. There are two: an update that
// build made, and an ordinary image that is flattened on the way.
type source interface {
	// describe returns the manifest as far as it is known before anything
	// is written, and reads what that takes.
	describe(ctx context.Context) (manifest.Manifest, error)
	// fits returns an error of kind fault.NoRoom if the image cannot fit in
	// a slot that holds a squashfs of up to capacity bytes.
	fits(slot bootctl.Slot, capacity int64) error
	// fill writes squashfs and hash tree to w and returns the root hash and
	// the encoded manifest.
	fill(ctx context.Context, w target, progress Progress) (*filled, error)
}

// filled is what a source wrote.
type filled struct {
	tree     *verity.Tree
	manifest manifest.Manifest
	raw      []byte // the manifest, encoded
}

// SourceOptions says how images are found and read.
type SourceOptions struct {
	Registry oci.Options
	Squashfs squashfs.Options // for ordinary images
	Version  string           // of an ordinary image, instead of what it says
}

func newSource(img *oci.Image, opt SourceOptions, progress Progress) source {
	if img.IsUpdate() {
		return &updateSource{img: img}
	}
	return &imageSource{img: img, progress: progress, opt: compose.Options{
		Squashfs: opt.Squashfs, Version: opt.Version, Source: RecordedSource(img.Reference()),
	}}
}

// RecordedSource is how a manifest names the image it was made from. Only
// registries mean something on another machine.
func RecordedSource(ref oci.Reference) string {
	if ref.Local() {
		return ""
	}
	return ref.String()
}

// Origin is how the boot state names where a slot's system came from, for an
// apply without a reference. Paths are made absolute.
func Origin(ref oci.Reference) string {
	if !ref.Local() || filepath.IsAbs(ref.Path) {
		return ref.String()
	}
	abs, err := filepath.Abs(ref.Path)
	if err != nil {
		return ref.String()
	}
	return strings.Replace(ref.String(), ref.Path, abs, 1)
}

// registryProgress turns the progress of reading layers into events.
func registryProgress(p Progress) func(oci.Progress) {
	return func(e oci.Progress) {
		if e.Phase != "content" { // that one is seen as written bytes
			p.Report(StepFetch, e.Done, e.Total)
		}
	}
}
