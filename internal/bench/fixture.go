package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/stream"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/abupdate/abupdate/internal/debianimage"
)

// A fixture is what everything is measured on: a Debian root, as a tar and as
// an OCI layout with one layer of it.
type fixture struct {
	Key      string `json:"key"`      // what it was made of
	Suite    string `json:"suite"`    // its os-release's name
	Packages int    `json:"packages"` // that dpkg lists
	Entries  int    `json:"entries"`
	Bytes    int64  `json:"bytes"` // of the tar
	Layer    int64  `json:"layer"` // bytes of the compressed layer

	dir string
}

func (f *fixture) tar() string    { return filepath.Join(f.dir, "root.tar") }
func (f *fixture) layout() string { return filepath.Join(f.dir, "layout") }

// tag names the image in its layout.
const tag = "v1"

// key changes when the root would have to be made anew.
func key() string { return "1 " + strings.Join(debianPackages, " ") }

// openFixture returns the root in dir, and makes it when it is not there.
func openFixture(ctx context.Context, dir string, log io.Writer) (*fixture, error) {
	file := filepath.Join(dir, "root.json")
	f := &fixture{dir: dir}
	if b, err := os.ReadFile(file); err == nil && json.Unmarshal(b, f) == nil && f.Key == key() {
		return f, nil
	}
	f = &fixture{Key: key(), dir: dir}
	fmt.Fprintln(log, "making a Debian root with mmdebstrap")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making fixture: %w", err)
	}
	err := debianimage.WriteTar(ctx, f.tar(), debianPackages, debianimage.Options{CacheDir: dir, Log: io.Discard})
	if err != nil {
		return nil, fmt.Errorf("making fixture: %w", err)
	}
	if err := f.count(); err != nil {
		return nil, fmt.Errorf("making fixture: %w", err)
	}
	fmt.Fprintln(log, "packing it as an OCI layout")
	root, err := os.Open(f.tar())
	if err != nil {
		return nil, fmt.Errorf("making fixture: %w", err)
	}
	if f.Layer, err = writeLayout(f.layout(), root, gzip.DefaultCompression); err != nil {
		return nil, fmt.Errorf("making fixture: %w", err)
	}
	return f, writeJSON(file, f)
}

// count fills in what the tar says of itself.
func (f *fixture) count() error {
	r, err := os.Open(f.tar())
	if err != nil {
		return err
	}
	defer r.Close()
	if info, err := r.Stat(); err == nil {
		f.Bytes = info.Size()
	}
	for tr := tar.NewReader(r); ; f.Entries++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading root: %w", err)
		}
		switch filepath.Clean(h.Name) {
		case "var/lib/dpkg/status":
			b, err := io.ReadAll(tr)
			if err != nil {
				return fmt.Errorf("reading root: %w", err)
			}
			f.Packages = bytes.Count(append([]byte("\n"), b...), []byte("\nPackage: "))
		case "usr/lib/os-release":
			b, err := io.ReadAll(tr)
			if err != nil {
				return fmt.Errorf("reading root: %w", err)
			}
			f.Suite = prettyName(string(b))
		}
	}
}

// prettyName finds PRETTY_NAME in an os-release.
func prettyName(s string) string {
	for line := range strings.Lines(s) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return "unknown"
}

// writeLayout makes an OCI layout of one image with one gzip layer, and
// returns the layer's size. It closes r.
func writeLayout(dir string, r io.ReadCloser, level int) (int64, error) {
	defer r.Close()
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{Architecture: runtime.GOARCH, OS: "linux", RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		return 0, err
	}
	layer := stream.NewLayer(r, stream.WithCompressionLevel(level), stream.WithMediaType(types.OCILayer))
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		return 0, err
	}
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return 0, err
	}
	if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag})); err != nil {
		return 0, err
	}
	return layer.Size()
}

// writeJSON says, last of all, that what stands beside it is whole.
func writeJSON(file string, v any) error {
	b, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
