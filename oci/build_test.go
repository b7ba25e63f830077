package oci_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// stamp is the time of every entry that names no other.
const stamp = 1_000_000_000

// An item is one tar entry of a layer under test.
type item struct {
	tar.Header
	body string
}

type change func(*item)

func entry(flag byte, name string, mode int64, changes []change) item {
	it := item{Header: tar.Header{Typeflag: flag, Name: name, Mode: mode, ModTime: time.Unix(stamp, 0)}}
	for _, c := range changes {
		c(&it)
	}
	it.Size = int64(len(it.body))
	return it
}

func file(name, body string, c ...change) item {
	return entry(tar.TypeReg, name, 0o644, append(c, func(it *item) { it.body = body }))
}
func dir(name string, c ...change) item  { return entry(tar.TypeDir, name, 0o755, c) }
func fifo(name string, c ...change) item { return entry(tar.TypeFifo, name, 0o644, c) }
func wh(name string) item                { return entry(tar.TypeReg, name, 0o644, nil) }
func link(name, to string, c ...change) item {
	return entry(tar.TypeLink, name, 0o644, append(c, func(it *item) { it.Linkname = to }))
}
func sym(name, to string, c ...change) item {
	return entry(tar.TypeSymlink, name, 0o777, append(c, func(it *item) { it.Linkname = to }))
}
func dev(flag byte, name string, major, minor int64) item {
	return entry(flag, name, 0o600, []change{func(it *item) { it.Devmajor, it.Devminor = major, minor }})
}

func mode(m int64) change         { return func(it *item) { it.Mode = m } }
func owner(uid, gid int) change   { return func(it *item) { it.Uid, it.Gid = uid, gid } }
func format(f tar.Format) change  { return func(it *item) { it.Format = f } }
func mtime(s, ns int64) change    { return func(it *item) { it.ModTime = time.Unix(s, ns) } }
func flag(b byte) change          { return func(it *item) { it.Typeflag = b } }
func xattr(name, v string) change { return record("SCHILY.xattr."+name, v) }
func record(key, v string) change {
	return func(it *item) {
		it.Format = tar.FormatPAX
		if it.PAXRecords == nil {
			it.PAXRecords = map[string]string{}
		}
		it.PAXRecords[key] = v
	}
}

// tarOf writes a layer.
func tarOf(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, it := range items {
		if err := tw.WriteHeader(&it.Header); err != nil {
			t.Fatalf("writing header of %q: %v", it.Name, err)
		}
		if _, err := tw.Write([]byte(it.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarsOf(t testing.TB, layers [][]item) [][]byte {
	t.Helper()
	var tars [][]byte
	for _, l := range layers {
		tars = append(tars, tarOf(t, l...))
	}
	return tars
}

// A builder makes an image layout, one file at a time.
type builder struct {
	t   testing.TB
	dir string
}

func newLayout(t testing.TB) *builder {
	t.Helper()
	b := &builder{t, t.TempDir()}
	if err := os.MkdirAll(filepath.Join(b.dir, "blobs/sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return b
}

func (b *builder) write(name string, content []byte) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), content, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *builder) blob(mt types.MediaType, content []byte) v1.Descriptor {
	b.t.Helper()
	h := v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(content))}
	b.write("blobs/sha256/"+h.Hex, content)
	return v1.Descriptor{MediaType: mt, Digest: h, Size: int64(len(content))}
}

func (b *builder) json(mt types.MediaType, v any) v1.Descriptor {
	b.t.Helper()
	doc, err := json.Marshal(v)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.blob(mt, doc)
}

// image adds an image whose layers are the given tars, packed by pack.
func (b *builder) image(arch string, mt types.MediaType, pack func(testing.TB, []byte) []byte, tars ...[]byte) v1.Descriptor {
	b.t.Helper()
	config := v1.ConfigFile{Architecture: arch, OS: "linux", RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}}
	for _, plain := range tars {
		h, _, err := v1.SHA256(bytes.NewReader(plain))
		if err != nil {
			b.t.Fatal(err)
		}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, h)
		m.Layers = append(m.Layers, b.blob(mt, pack(b.t, plain)))
	}
	m.Config = b.json(types.OCIConfigJSON, config)
	return b.json(types.OCIManifestSchema1, m)
}

// index writes index.json.
func (b *builder) index(descs ...v1.Descriptor) string {
	b.t.Helper()
	doc, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, Manifests: descs})
	if err != nil {
		b.t.Fatal(err)
	}
	b.write("index.json", doc)
	return b.dir
}

func tagged(d v1.Descriptor, tag string) v1.Descriptor {
	d.Annotations = map[string]string{"org.opencontainers.image.ref.name": tag}
	return d
}

func onPlatform(d v1.Descriptor, arch string) v1.Descriptor {
	d.Platform = &v1.Platform{OS: "linux", Architecture: arch}
	return d
}

func plain(_ testing.TB, b []byte) []byte { return b }

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	if _, err := zw.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t testing.TB, b []byte) []byte {
	t.Helper()
	zw, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return zw.EncodeAll(b, nil)
}
