// Package testimage makes the smallest system that a QEMU test can boot: a
// Go init, the e2fsprogs and a kernel, as OCI images whose variants differ in
// a small top layer.
package testimage

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// How a variant behaves after it has told the host that it is there.
const (
	Normal = ""      // serves the host; it does not confirm itself
	Panics = "panic" // the kernel panics
	Exits  = "exit"  // init ends
	Hangs  = "hang"  // nothing more happens
)

// A Variant is one image: what lies on top of the layers that all share.
type Variant struct {
	Tag     string // in the layout
	Version string // IMAGE_VERSION of os-release, and the image's label; "" means Tag
	Mode    string // Normal, Panics, Exits, Hangs
	// Files are further files: path to content, with mode 0755 below a bin
	// folder, else 0644. A path that ends in a slash is a directory.
	Files map[string]string
	// Remove are paths of lower layers to delete.
	Remove []string
}

// A Set is what all variants share.
type Set struct {
	kernel *Kernel
	base   []v1.Layer
}

// New makes the shared layers: the system with kernel, and the programs of
// bin.
func New(kernel *Kernel, bin Binaries) (*Set, error) {
	system, err := systemLayer(kernel)
	if err != nil {
		return nil, fmt.Errorf("making test image: %w", err)
	}
	programs, err := programsLayer(bin)
	if err != nil {
		return nil, fmt.Errorf("making test image: %w", err)
	}
	return &Set{kernel, []v1.Layer{system, programs}}, nil
}

// Push pushes variants to repository HOST:PORT/NAME over plain HTTP, each under
// its tag.
func (s *Set) Push(repository string, variants ...Variant) error {
	for _, v := range variants {
		img, err := s.Image(v)
		if err != nil {
			return err
		}
		tag, err := name.NewTag(repository+":"+v.Tag, name.Insecure)
		if err != nil {
			return fmt.Errorf("pushing test image: %w", err)
		}
		if err := remote.Write(tag, img); err != nil {
			return fmt.Errorf("pushing test image: %w", err)
		}
	}
	return nil
}

// Image makes one variant.
func (s *Set) Image(v Variant) (v1.Image, error) {
	top, err := variantLayer(v)
	if err != nil {
		return nil, fmt.Errorf("making test image %s: %w", v.Tag, err)
	}
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Created:      v1.Time{Time: time.Unix(1700000000, 0).UTC()},
		RootFS:       v1.RootFS{Type: "layers"},
		Config:       v1.Config{Labels: map[string]string{"org.opencontainers.image.version": v.version()}},
	})
	if err == nil {
		img, err = mutate.AppendLayers(img, append(append([]v1.Layer(nil), s.base...), top)...)
	}
	if err != nil {
		return nil, fmt.Errorf("making test image %s: %w", v.Tag, err)
	}
	return img, nil
}

func (v Variant) version() string {
	if v.Version != "" {
		return v.Version
	}
	return v.Tag
}

// WriteLayout writes variants into the OCI layout directory dir, each under
// its tag.
func (s *Set) WriteLayout(dir string, variants ...Variant) error {
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("making layout: %w", err)
	}
	for _, v := range variants {
		img, err := s.Image(v)
		if err != nil {
			return err
		}
		err = p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": v.Tag}))
		if err != nil {
			return fmt.Errorf("writing image %s to layout %s: %w", v.Tag, dir, err)
		}
	}
	return nil
}

func variantLayer(v Variant) (v1.Layer, error) {
	var t tree
	t.file("etc/os-release", 0o644, []byte(fmt.Sprintf("NAME=tiny\nID=tiny\nPRETTY_NAME=\"tiny test system %[1]s\"\nVERSION_ID=1\nIMAGE_VERSION=%[1]s\n", v.version())))
	t.file("etc/guest.json", 0o644, []byte(fmt.Sprintf("{\"mode\":%q}\n", v.Mode)))
	for _, name := range v.Remove {
		name = strings.Trim(name, "/")
		t.file(filepath.Join(filepath.Dir(name), ".wh."+filepath.Base(name)), 0o644, nil)
	}
	for name, content := range v.Files {
		if strings.HasSuffix(name, "/") {
			t.dir(strings.Trim(name, "/"), 0o755)
			continue
		}
		name = strings.TrimPrefix(name, "/")
		mode := int64(0o644)
		if strings.HasSuffix(filepath.Dir(name), "bin") {
			mode = 0o755
		}
		t.file(name, mode, []byte(content))
	}
	return t.layer()
}

func programsLayer(bin Binaries) (v1.Layer, error) {
	var t tree
	guest, err := os.ReadFile(bin.Guest)
	if err != nil {
		return nil, err
	}
	t.file("usr/sbin/init", 0o755, guest)
	t.link("usr/bin/guest", "usr/sbin/init")
	abupdate, err := os.ReadFile(bin.Abupdate)
	if err != nil {
		return nil, err
	}
	t.file("usr/bin/abupdate", 0o755, abupdate)
	return t.layer()
}
