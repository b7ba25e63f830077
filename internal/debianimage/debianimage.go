// Package debianimage makes the real Debian images that the demo and the QEMU
// tests boot: a root file system by mmdebstrap from the machine's own apt
// sources, and OCI images of it in three versions.
package debianimage

import (
	"context"
	"errors"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Options says where things come from and where they are kept.
type Options struct {
	CacheDir string    // made if missing; the roots are kept here between runs
	Suite    string    // Debian suite; "" is this machine's
	Log      io.Writer // what mmdebstrap prints; nil discards it
}

// Binaries are the programs that go into an image.
type Binaries struct {
	Abupdate string // bin/abupdate
	Agent    string // bin/guest, driven from the host over virtio-serial; "" leaves it out
}

// Set is the images of one system in the versions that a test of updates
// needs.
type Set struct {
	V1     v1.Image // base system
	V2     v1.Image // the same with one more package installed and files changed
	Broken v1.Image // v2 with a service that panics the kernel before the boot is complete
	Kernel string   // release of the kernel in all three
}

// Build makes the images; the roots below them come from the cache when they
// are there.
func Build(ctx context.Context, bin Binaries, opt Options) (*Set, error) {
	return nil, errors.ErrUnsupported
}

// WriteLayout writes the images into an OCI layout directory with the tags
// v1, v2 and broken.
func (s *Set) WriteLayout(dir string) error { return errors.ErrUnsupported }
