package updater

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/updater/trust"
	"github.com/abupdate/abupdate/verity"
)

// A source is an image on its way into a slot. There are two: an update that
// build made, and an ordinary image that is flattened on the way.
type source interface {
	// describe returns the manifest as far as it is known without reading
	// what the image holds: of an update all of it.
	describe() (manifest.Manifest, error)
	// survey returns the manifest as far as it can be known before anything
	// is written. It reads what that takes: all layers of an image.
	survey(ctx context.Context) (manifest.Manifest, error)
	// fits returns an error of kind fault.NoRoom if the image cannot fit in
	// a slot that holds a squashfs of up to capacity bytes.
	fits(slot bootctl.Slot, capacity int64) error
	// fill writes the squashfs to w and returns its hash tree and the
	// manifest.
	fill(ctx context.Context, w target, progress Progress) (*filled, error)
	// signedBy says which trusted key has signed the image, before it is
	// filled in.
	signedBy(trust.Key)
	// dropped counts the extended attributes that were left out, by name.
	dropped() map[string]int
}

// filled is what a source wrote.
type filled struct {
	tree     *verity.Tree
	manifest manifest.Manifest
	raw      []byte // the manifest, encoded
	layers   []byte // the list of layers, nil for none
	placed   bool   // the tree is in the slot already
	kept     int64  // bytes of the image that stood there, if placed
}

// SourceOptions says how images are found and read.
type SourceOptions struct {
	Registry oci.Options
	Squashfs squashfs.Options // for ordinary images
	Version  string           // of an ordinary image, instead of what it says
}

func newSource(img *oci.Image, opt SourceOptions, phase *phase) source {
	if img.IsUpdate() {
		return &updateSource{img: img}
	}
	return &imageSource{Image: newImage(img, opt, phase)}
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
