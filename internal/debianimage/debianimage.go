// Package debianimage makes the real Debian images that the demo and the QEMU
// tests boot: root file systems by mmdebstrap from the machine's own apt
// sources, and OCI images of them in three versions.
//
// The root file systems are kept in a cache as an OCI layout; what changes
// with the project's own programs is a small layer on top, made anew each time.
package debianimage

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// Options says where things come from and where they are kept.
type Options struct {
	CacheDir string    // made if missing; the roots are kept here between runs
	Suite    string    // Debian suite; "" is this machine's
	Log      io.Writer // what mmdebstrap prints; nil discards it
	// Released leaves out what came after the release, its updates and those
	// for security: the system of which another one is an upgrade.
	Released bool
	// Whole keeps manuals and translations, in WriteTar.
	Whole bool
}

// Binaries are the programs that go into an image.
type Binaries struct {
	Abupdate string // bin/abupdate
	Agent    string // bin/guest, driven from the host over virtio-serial
}

// Set is the images of one system in the versions that a test of updates
// needs.
type Set struct {
	V1     v1.Image // base system
	V2     v1.Image // the same with one more package installed and files changed
	Broken v1.Image // v2 with a mistake in sshd's configuration: the boot is never complete
	Kernel string   // release of the kernel in all three
}

// RefName is the annotation that names an image within an OCI layout.
const refName = "org.opencontainers.image.ref.name"

// Build makes the images; the roots below them come from the cache when they
// are there.
func Build(ctx context.Context, bin Binaries, opt Options) (*Set, error) {
	r, err := buildRoots(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("building Debian root: %w", err)
	}
	set := &Set{Kernel: r.meta.Kernel}
	for _, v := range []struct {
		dst  *v1.Image
		root v1.Image
		version
	}{
		{&set.V1, r.base, version{number: "1", what: "the base system"}},
		{&set.V2, r.more, version{number: "2", what: "with " + extraPackage}},
		{&set.Broken, r.more, version{number: "3", what: "with a typo in sshd's configuration", broken: true}},
	} {
		if *v.dst, err = topped(v.root, r.meta, bin, v.version); err != nil {
			return nil, fmt.Errorf("making image of version %s: %w", v.number, err)
		}
	}
	return set, nil
}

// topped puts the project's own layer onto a root.
func topped(root v1.Image, m meta, bin Binaries, v version) (v1.Image, error) {
	layer, err := topLayer(m, bin, v)
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(root, layer)
	if err != nil {
		return nil, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.Config.Labels["org.opencontainers.image.version"] = v.number
	cfg.Config.Labels["org.opencontainers.image.description"] = "Debian for abupdate's demo, " + v.what
	return mutate.ConfigFile(img, cfg)
}

// Tagged is an image under the tag that it is published with.
type Tagged struct {
	Tag   string
	Image v1.Image
}

// Tags returns the images as v1, v2 and broken.
func (s *Set) Tags() []Tagged {
	return []Tagged{{"v1", s.V1}, {"v2", s.V2}, {"broken", s.Broken}}
}

// WriteLayout writes the images into an OCI layout directory, which it makes
// anew, with the tags v1, v2 and broken.
func (s *Set) WriteLayout(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("writing layout: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("writing layout: %w", err)
	}
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("writing layout %s: %w", dir, err)
	}
	for _, v := range s.Tags() {
		if err := p.AppendImage(v.Image, layout.WithAnnotations(map[string]string{refName: v.Tag})); err != nil {
			return fmt.Errorf("writing %s into layout %s: %w", v.Tag, dir, err)
		}
	}
	return nil
}
