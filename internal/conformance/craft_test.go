package conformance_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// A craft writes an OCI layout by hand: libraries would not write what hurts.
type craft struct {
	t   *testing.T
	dir string
}

func newCraft(t *testing.T) *craft {
	t.Helper()
	c := &craft{t, filepath.Join(scratch(t), "layout")}
	if err := os.MkdirAll(filepath.Join(c.dir, "blobs/sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return c
}

func (c *craft) write(name string, b []byte) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), b, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// A descriptor names a blob.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	plain     string // digest of a layer when decompressed
}

// blob stores what write writes; nothing of it is held in memory.
func (c *craft) blob(mediaType string, write func(w io.Writer) error) descriptor {
	c.t.Helper()
	f, err := os.Create(filepath.Join(c.dir, "new"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if err := write(io.MultiWriter(f, h)); err != nil {
		c.t.Fatal(err)
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		c.t.Fatal(err)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if err := os.Rename(f.Name(), filepath.Join(c.dir, "blobs/sha256", sum)); err != nil {
		c.t.Fatal(err)
	}
	return descriptor{MediaType: mediaType, Digest: "sha256:" + sum, Size: size}
}

const (
	gzipLayer = "application/vnd.oci.image.layer.v1.tar+gzip"
	zstdLayer = "application/vnd.oci.image.layer.v1.tar+zstd"
)

// layer stores the tar that write writes, compressed with gzip.
func (c *craft) layer(write func(w io.Writer) error) descriptor {
	c.t.Helper()
	h := sha256.New()
	d := c.blob(gzipLayer, func(w io.Writer) error {
		zw, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			return err
		}
		if err := write(io.MultiWriter(zw, h)); err != nil {
			return err
		}
		return zw.Close()
	})
	d.plain = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return d
}

// image stores config, manifest and index, and returns the reference.
func (c *craft) image(layers ...descriptor) string {
	c.t.Helper()
	var plain []string
	for _, l := range layers {
		if l.plain == "" { // nobody reads so far
			l.plain = "sha256:" + fmt.Sprintf("%064d", 0)
		}
		plain = append(plain, l.plain)
	}
	config := c.json("application/vnd.oci.image.config.v1+json", map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{}, "rootfs": map[string]any{"type": "layers", "diff_ids": plain},
	})
	manifest := c.json("application/vnd.oci.image.manifest.v1+json", map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers,
	})
	b, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}})
	if err != nil {
		c.t.Fatal(err)
	}
	c.write("index.json", b)
	return "oci:" + c.dir
}

func (c *craft) json(mediaType string, v any) descriptor {
	c.t.Helper()
	return c.blob(mediaType, func(w io.Writer) error { return json.NewEncoder(w).Encode(v) })
}

// tarStart is a tar up to the content of its last entry, which is a file of
// that size.
func tarStart(size int64) []byte {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "srv/", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "srv/zeros", Mode: 0o644, Size: size, Format: tar.FormatPAX},
	} {
		if err := tw.WriteHeader(h); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

const mib = 1 << 20

// bomb is start and then a unit so many times. Both formats allow a stream of
// several, so it is compressed once.
func bomb(compress func(io.Writer) io.WriteCloser, start, unit []byte, times int) func(io.Writer) error {
	return func(w io.Writer) error {
		var packed bytes.Buffer
		for _, part := range []struct {
			to   io.Writer
			data []byte
		}{{w, start}, {&packed, unit}} {
			zw := compress(part.to)
			if _, err := zw.Write(part.data); err != nil {
				return err
			}
			if err := zw.Close(); err != nil {
				return err
			}
		}
		for range times {
			if _, err := w.Write(packed.Bytes()); err != nil {
				return err
			}
		}
		return nil
	}
}

// zeroBomb is start and then 10 GiB of zeros.
func zeroBomb(compress func(io.Writer) io.WriteCloser, start []byte) func(io.Writer) error {
	return bomb(compress, start, make([]byte, 64*mib), 160)
}

func gzipped(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }

func zstandard(w io.Writer) io.WriteCloser {
	zw, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	return zw
}

// swapConfig lets the manifest name a config of so many spaces.
func (c *craft) swapConfig(size int64) {
	c.t.Helper()
	config := c.blob("application/vnd.oci.image.config.v1+json", func(w io.Writer) error {
		_, err := io.CopyN(w, spaces{}, size)
		return err
	})
	manifest := c.json("application/vnd.oci.image.manifest.v1+json", map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": []descriptor{},
	})
	b, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}})
	if err != nil {
		c.t.Fatal(err)
	}
	c.write("index.json", b)
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
