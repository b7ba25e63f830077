package conformance_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/debianimage"
	"github.com/abupdate/abupdate/internal/testimage"
)

// wanted is the Debian content that the images are made of.
var wanted = debianimage.Wanted{
	Install: []string{"systemd", "systemd-sysv", "udev", "dbus", "iputils-ping", "libcap2-bin"},
	Download: map[string][]string{
		"nginx":        {"nginx"},
		"python":       {"python3"},
		"headers":      {"libc6-dev", "libssl-dev", "libncurses-dev", "libx11-dev", "libeigen3-dev"},
		"hardlinks":    {"git", "perl"},
		"small":        {"locales", "tzdata", "manpages", "manpages-dev"},
		"names":        {"ca-certificates"},
		"capabilities": {"iputils-ping", "libcap2-bin"},
		"devices":      {"makedev"},
	},
}

// An image is one that is compared: Debian's minimal set with layers on it.
type image struct {
	name   string
	layers []source
	packed compression.Compression // of all layers, but none only of those above the minimal set; "" is gzip

	// derive makes it out of images that stand before it, under its name in the
	// layout, or what reference names.
	derive    func(ctx context.Context, dir string) error
	reference string // what abupdate reads, when that is not the layout
	same      string // image with the same content that umoci unpacks instead

	want       features
	exceptions []string // that are granted
}

// features are what an image is in the table for: it has at least so many.
type features struct {
	hardlinks, devices, capabilities, setuid, odd, layers, whiteouts, opaque int
}

var images = []image{
	{name: "minimal", want: features{hardlinks: 2, setuid: 5, layers: 1}},
	{name: "systemd", layers: []source{upper}, want: features{capabilities: 1, setuid: 6, layers: 2}, exceptions: []string{noACLs}},
	{name: "nginx", layers: []source{packages("nginx", nil)}, want: features{layers: 2}},
	{name: "python", layers: []source{packages("python", nil)}, want: features{layers: 2}},
	{name: "headers", layers: []source{packages("headers", nil)}, want: features{layers: 2}},
	{name: "hardlinks", layers: []source{packages("hardlinks", nil), hardlinks}, want: features{hardlinks: 3000, layers: 3}},
	{name: "small files", layers: []source{packages("small", nil)}, want: features{layers: 2}},
	{name: "names", layers: []source{packages("names", nil), entries(oddNames()...)}, packed: compression.None, want: features{odd: 10, layers: 3}},
	{name: "capabilities", layers: []source{packages("capabilities", map[string]string{"bin/ping": netRaw, "sbin/setcap": bpfInheritable})},
		want: features{capabilities: 2, layers: 2}},
	{name: "devices", layers: []source{packages("devices", nil), entries(deviceNodes()...)}, want: features{devices: 80, layers: 3}},
	{name: "repacked", derive: repack, want: features{hardlinks: 50, whiteouts: 5, opaque: 1, layers: 5}},
	{name: "127 layers", layers: churn(126), want: features{hardlinks: 100, layers: 127, whiteouts: 500, opaque: 10}},
	{name: "zstd", layers: []source{packages("nginx", nil)}, packed: compression.ZStd, same: "nginx", want: features{layers: 2}},
	{name: "docker archive", derive: dockerArchive, reference: "docker-archive:%s/docker.tar", same: "repacked", want: features{layers: 5}},
}

// tag is the image's name in the layout.
func (im *image) tag() string { return strings.ReplaceAll(im.name, " ", "-") }

// collected is Debian's content, from the cache or the mirror.
var collected = sync.OnceValues(func() (*debianimage.Collection, error) {
	cache, err := testimage.CacheDir()
	if err != nil {
		return nil, err
	}
	return debianimage.Collect(context.Background(), debianimage.Options{CacheDir: cache}, wanted)
})

// imagesDir is the OCI layout of all images, made once and kept in the cache.
var imagesDir = sync.OnceValues(func() (string, error) {
	c, err := collected()
	if err != nil {
		return "", err
	}
	const format = 1 // goes up when images change and their table does not say so
	key := fmt.Sprintf("%d %s", format, filepath.Dir(c.Minimal))
	for _, im := range images {
		key += fmt.Sprintf(" %s %d %s %s", im.name, len(im.layers), im.packed, im.reference)
	}
	cache := filepath.Dir(filepath.Dir(c.Minimal))
	dir := filepath.Join(cache, fmt.Sprintf("conformance-%x", sha256.Sum256([]byte(key)))[:30])
	lock, err := os.OpenFile(filepath.Join(cache, "conformance.lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := removeOld(cache); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cache, "conformance-new-")
	if err != nil {
		return "", err
	}
	defer remove(work)
	made := filepath.Join(work, "layout")
	if err := makeImages(context.Background(), c, made, work); err != nil {
		return "", fmt.Errorf("making images: %w", err)
	}
	return dir, os.Rename(made, dir)
})

// removeOld removes the images of other tables, and what killed makers left.
func removeOld(cache string) error {
	old, err := filepath.Glob(filepath.Join(cache, "conformance-*"))
	for _, dir := range old {
		err = errors.Join(err, remove(dir))
	}
	return err
}

func makeImages(ctx context.Context, c *debianimage.Collection, dir, work string) error {
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	bases := map[bool]v1.Layer{}
	for i := range images {
		im := &images[i]
		if im.derive != nil {
			if err := im.derive(ctx, dir); err != nil {
				return fmt.Errorf("image %s: %w", im.name, err)
			}
			continue
		}
		zstd := im.packed == compression.ZStd
		if bases[zstd] == nil {
			packed := compression.GZip
			if zstd {
				packed = compression.ZStd
			}
			if bases[zstd], err = layerOf(c.Minimal, packed); err != nil {
				return err
			}
		}
		made, err := im.make(ctx, c, bases[zstd], work)
		if err != nil {
			return fmt.Errorf("image %s: %w", im.name, err)
		}
		tag := map[string]string{"org.opencontainers.image.ref.name": im.tag()}
		if err := p.AppendImage(made, layout.WithAnnotations(tag)); err != nil {
			return fmt.Errorf("image %s: %w", im.name, err)
		}
	}
	return nil
}

func (im *image) make(ctx context.Context, c *debianimage.Collection, base v1.Layer, work string) (v1.Image, error) {
	layers := []v1.Layer{base}
	for i, src := range im.layers {
		file := filepath.Join(work, fmt.Sprintf("%s-%d.tar", im.tag(), i))
		f, err := os.Create(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if err := src(ctx, c, f); err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		l, err := layerOf(file, im.packed)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	return imageOf(im.name, layers...)
}

func layerOf(file string, packed compression.Compression) (v1.Layer, error) {
	media := types.OCILayer
	switch packed {
	case compression.ZStd:
		media = types.OCILayerZStd
	case compression.None:
		b, err := os.ReadFile(file)
		return static.NewLayer(b, types.OCIUncompressedLayer), err
	default:
		packed = compression.GZip
	}
	return tarball.LayerFromFile(file, tarball.WithCompression(packed), tarball.WithCompressionLevel(1), tarball.WithMediaType(media))
}

// created is what squashfs says it was made at.
var created = time.Unix(1735689600, 0).UTC()

func imageOf(version string, layers ...v1.Layer) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Created:      v1.Time{Time: created},
		RootFS:       v1.RootFS{Type: "layers"},
		Config:       v1.Config{Labels: map[string]string{"org.opencontainers.image.version": version}},
	})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, layers...)
}
