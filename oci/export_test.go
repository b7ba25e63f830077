package oci

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"io/fs"
	"testing"
	"unsafe"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

type memorySource map[v1.Hash][]byte

func (m memorySource) blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m[d.Digest])), nil
}

func (m memorySource) again(ctx context.Context, d v1.Descriptor, count func(int64)) (io.ReadCloser, error) {
	rc, err := m.blob(ctx, d)
	return counted(rc, count), err
}

func (memorySource) Close() error { return nil }

// MemoryImage makes an image of layers that lie in memory.
func MemoryImage(opt Options, tars ...[]byte) *Image {
	src := memorySource{}
	img := &Image{ref: Reference{Transport: Layout, Path: "memory"}, opt: opt, src: src}
	for _, b := range tars {
		d := describe(types.OCIUncompressedLayer, b)
		src[d.Digest] = b
		img.manifest.Layers = append(img.manifest.Layers, d)
		img.config.RootFS.DiffIDs = append(img.config.RootFS.DiffIDs, diffID(b))
	}
	return img
}

// diffID is made up where a layer cannot be decompressed.
func diffID(b []byte) v1.Hash {
	bad := describe(types.OCIUncompressedLayer, nil).Digest
	plain, release, err := decompress(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		return bad
	}
	defer release()
	if h, _, err := v1.SHA256(plain); err == nil {
		return h
	}
	return bad
}

// LimitArchiveNames lowers the bound of the names in an archive for one test.
func LimitArchiveNames(t *testing.T, n int) {
	was := maxArchiveNames
	t.Cleanup(func() { maxArchiveNames = was })
	maxArchiveNames = n
}

// HeaderBytes reads one layer and returns the memory that its headers take.
func HeaderBytes(img *Image) (bytes, entries int, err error) {
	rd := newReader(img, nil, ReadOptions{})
	if err := rd.layer(context.Background(), 0); err != nil {
		return 0, 0, err
	}
	for _, p := range rd.layers[0].pages {
		bytes += cap(p.buf) + int(unsafe.Sizeof(p))
	}
	for _, set := range rd.attrs.sets {
		bytes += len(set)
	}
	return bytes, rd.layers[0].entries, nil
}

// ResolveFiles resolves what ref names in a layout or docker-archive that lies
// in memory.
func ResolveFiles(ref Reference, opt Options, f map[string][]byte) (*Image, error) {
	if ref.Transport == DockerArchive {
		return resolveDockerArchive(context.Background(), ref, opt, memoryFiles(f))
	}
	return resolveLayout(context.Background(), ref, opt, memoryFiles(f))
}

type memoryFiles map[string][]byte

func (m memoryFiles) open(name string) (io.ReadCloser, int64, error) {
	b, ok := m[name]
	if !ok {
		return nil, 0, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

func (memoryFiles) Close() error { return nil }

// WeakHash makes paths collide that are looked up by hash.
func WeakHash(img *Image) { img.hashMask = 7 }

// CountFetches counts how often layers are opened from now on.
func CountFetches(img *Image) *int {
	c := &countingSource{source: img.src}
	img.src = c
	return &c.n
}

type countingSource struct {
	source
	n int
}

func (c *countingSource) blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	c.n++
	return c.source.blob(ctx, d)
}

func (c *countingSource) again(ctx context.Context, d v1.Descriptor, count func(int64)) (io.ReadCloser, error) {
	c.n++
	return c.source.again(ctx, d, count)
}

// DrainLayers goes through all entries of all layers of a list.
func DrainLayers(l *LayerList) (entries int, err error) {
	for i := range l.layers {
		for _, err := range l.layers[i].entries() {
			if err != nil {
				return entries, err
			}
			entries++
		}
	}
	return entries, nil
}

// Corrupt changes a byte of a layer.
func Corrupt(img *Image, i int) {
	d := img.manifest.Layers[i].Digest
	b := bytes.Clone(img.src.(memorySource)[d])
	b[len(b)/2] ^= 1
	img.src.(memorySource)[d] = b
}
