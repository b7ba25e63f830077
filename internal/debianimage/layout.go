package debianimage

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// metaFile lies beside the layout in the cache; it is written last.
const metaFile = "abupdate.json"

// writeLayout turns the two tars into images. The base layer is zstd and the
// one above it gzip, so that both are read on every run of the demo.
func (m *maker) writeLayout() error {
	diff := m.file("diff.tar")
	if err := writeDiff(diff, m.file("base.tar"), m.file("more.tar")); err != nil {
		return err
	}
	info, err := readMeta(m.file("base.tar"))
	if err != nil {
		return err
	}
	baseLayer, err := tarball.LayerFromFile(m.file("base.tar"), tarball.WithCompression(compression.ZStd), tarball.WithMediaType(types.OCILayerZStd))
	if err != nil {
		return fmt.Errorf("compressing base layer: %w", err)
	}
	moreLayer, err := tarball.LayerFromFile(diff, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return fmt.Errorf("compressing layer with %s: %w", extraPackage, err)
	}
	base, err := newImage(baseLayer)
	if err != nil {
		return err
	}
	more, err := mutate.AppendLayers(base, moreLayer)
	if err != nil {
		return err
	}
	p, err := layout.Write(m.file("layout"), empty.Index)
	if err != nil {
		return err
	}
	for _, img := range []v1.Image{base, more} {
		if err := p.AppendImage(img); err != nil {
			return err
		}
	}
	return info.write(filepath.Join(m.file("layout"), metaFile))
}

func newImage(l v1.Layer) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		RootFS:       v1.RootFS{Type: "layers"},
		Created:      v1.Time{Time: time.Unix(epoch, 0).UTC()},
		Config:       v1.Config{Labels: map[string]string{"org.opencontainers.image.title": "abupdate-debian"}},
	})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, l)
}

// loadRoots opens what writeLayout wrote.
func loadRoots(dir string) (*roots, error) {
	b, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		return nil, err
	}
	var r roots
	if err := json.Unmarshal(b, &r.meta); err != nil {
		return nil, fmt.Errorf("reading %s: %w", metaFile, err)
	}
	ix, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	man, err := ix.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(man.Manifests) != 2 {
		return nil, fmt.Errorf("reading layout %s: %d images instead of 2", dir, len(man.Manifests))
	}
	if r.base, err = ix.Image(man.Manifests[0].Digest); err != nil {
		return nil, err
	}
	if r.more, err = ix.Image(man.Manifests[1].Digest); err != nil {
		return nil, err
	}
	return &r, nil
}

// readMeta finds what meta holds in a root's tar.
func readMeta(tarFile string) (meta, error) {
	var m meta
	f, err := os.Open(tarFile)
	if err != nil {
		return m, err
	}
	defer f.Close()
	for tr := tar.NewReader(f); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return m, fmt.Errorf("reading root: %w", err)
		}
		name := path.Clean(hdr.Name)
		switch dir, file := path.Split(name); {
		case name == "usr/lib/os-release":
			b, err := io.ReadAll(io.LimitReader(tr, 64<<10))
			if err != nil {
				return m, fmt.Errorf("reading root: %w", err)
			}
			m.OSRelease = string(b)
		case dir == "boot/" && strings.HasPrefix(file, "vmlinuz-"):
			m.Kernel = strings.TrimPrefix(file, "vmlinuz-")
		case dir == "boot/" && strings.HasPrefix(file, "initrd."):
			return m, fmt.Errorf("reading root: %s: a package has built an initramfs, which nothing here needs", name)
		}
	}
	if m.Kernel == "" || m.OSRelease == "" {
		return m, fmt.Errorf("reading root: kernel %q, os-release of %d bytes: one of them is missing", m.Kernel, len(m.OSRelease))
	}
	return m, nil
}
