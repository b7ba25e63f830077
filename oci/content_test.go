package oci_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// TestDamage changes one blob of a good layout.
func TestDamage(t *testing.T) {
	random := strings.Repeat("0123456789abcdef", 1<<16)
	big := tarOf(t, file("a", random), file("b", "bee"))
	for _, pack := range []struct {
		name string
		mt   types.MediaType
		fn   func(testing.TB, []byte) []byte
	}{{"plain", types.OCIUncompressedLayer, plain}, {"gzip", types.OCILayer, gzipped}, {"zstd", types.OCILayerZStd, zstded}} {
		for _, tt := range []struct {
			name   string
			damage func([]byte) []byte
			want   string
		}{
			{"cut short", func(b []byte) []byte { return b[:len(b)/2] }, "bytes; want"},
			{"empty", func([]byte) []byte { return nil }, "has 0 bytes; want"},
			{"longer", func(b []byte) []byte { return append(b, 0) }, "bytes; want"},
			{"first byte flipped", func(b []byte) []byte { return flip(b, 0) }, "its content has digest"},
			{"middle flipped", func(b []byte) []byte { return flip(b, len(b)/2) }, "its content has digest"},
			{"last byte flipped", func(b []byte) []byte { return flip(b, len(b)-1) }, "its content has digest"},
		} {
			t.Run(pack.name+" "+tt.name, func(t *testing.T) {
				l := newLayout(t)
				l.index(l.image("amd64", pack.mt, pack.fn, big))
				name := "blobs/sha256/" + digestOf(pack.fn(t, big))
				l.write(name, tt.damage(pack.fn(t, big)))
				img, err := resolve(t, "oci:"+l.dir, oci.Options{})
				if err != nil {
					t.Fatal(err)
				}
				_, err = oci.Read(context.Background(), img, nil)
				wantError(t, err, tt.want, fault.Verify)
				wantError(t, err, "layer 1 of 1", fault.Verify)
			})
		}
	}
}

func digestOf(b []byte) string {
	h, _, err := v1.SHA256(bytes.NewReader(b))
	if err != nil {
		panic(err)
	}
	return h.Hex
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 0x10
	return b
}

// TestPublishedDamage has digests that match what is wrong all the same.
func TestPublishedDamage(t *testing.T) {
	good := tarOf(t, file("a", strings.Repeat("x", 5000)), file("b", "bee"))
	for _, tt := range []struct {
		name string
		pack func(testing.TB, []byte) []byte
		want string
	}{
		{"diffID of something else", func(t testing.TB, b []byte) []byte { return gzipped(t, tarOf(t, file("a", "other"))) }, "uncompressed content has digest"},
		{"tar cut in a file", func(t testing.TB, b []byte) []byte { return gzipped(t, b[:3000]) }, "reading as tar"},
		{"gzip cut", func(t testing.TB, b []byte) []byte { p := gzipped(t, b); return p[:len(p)-9] }, "decompressing: unexpected EOF"},
		{"gzip with a bad checksum", func(t testing.TB, b []byte) []byte { p := gzipped(t, b); return flip(p, len(p)-5) }, "checksum"},
		{"zstd cut", func(t testing.TB, b []byte) []byte { p := zstded(t, b); return p[:len(p)-9] }, "decompressing: unexpected EOF"},
		{"not a tar", func(t testing.TB, b []byte) []byte { return gzipped(t, bytes.Repeat([]byte("no"), 1000)) }, "reading as tar after 0 entries"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLayout(t)
			l.index(l.image("amd64", types.OCILayer, tt.pack, good))
			img, err := resolve(t, "oci:"+l.dir, oci.Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = oci.Read(context.Background(), img, nil)
			wantError(t, err, tt.want, fault.Verify)
		})
	}
}

func TestLayerErrors(t *testing.T) {
	l := newLayout(t)
	layer := l.blob(types.OCILayer, gzipped(t, tarOf(t)))
	odd := l.blob("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", []byte("x"))
	config := l.json(types.OCIConfigJSON, v1.ConfigFile{RootFS: v1.RootFS{DiffIDs: []v1.Hash{layer.Digest}}})
	for _, tt := range []struct {
		name   string
		layers []v1.Descriptor
		want   string
		kind   fault.Kind
	}{
		{"fewer diffIDs than layers", []v1.Descriptor{layer, layer}, "manifest has 2 layers, config 1 diffIDs", fault.Verify},
		{"encrypted layer", []v1.Descriptor{odd}, "not a file system layer", fault.Usage},
	} {
		l.index(l.json(types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, Config: config, Layers: tt.layers}))
		img, err := resolve(t, "oci:"+l.dir, oci.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = oci.Read(context.Background(), img, nil)
		wantError(t, err, tt.want, tt.kind)
	}
}

func TestLimits(t *testing.T) {
	tars := tarsOf(t, [][]item{{file("a", strings.Repeat("x", 5000)), file("b", "x")}, {file("c", strings.Repeat("y", 600))}})
	for _, tt := range []struct {
		limits oci.Limits
		want   string
	}{
		{oci.Limits{Entries: 3, LayerBytes: 10240, TotalBytes: 5601, MetadataBytes: 3}, ""},
		{oci.Limits{Entries: 2}, "more than 2 entries"},
		{oci.Limits{LayerBytes: 6000}, "layer 1 of 2"},
		{oci.Limits{LayerBytes: 6000}, "more than 6000 bytes when decompressed"},
		{oci.Limits{TotalBytes: 5600}, "files have more than 5600 bytes"},
		{oci.Limits{MetadataBytes: 2}, "more than 2 bytes of names"},
	} {
		_, _, err := read(t, oci.MemoryImage(oci.Options{Limits: tt.limits}, tars...))
		if tt.want == "" {
			if err != nil {
				t.Errorf("limits %+v: %v; want no error", tt.limits, err)
			}
			continue
		}
		wantError(t, err, tt.want, fault.Refused)
	}
}

// TestXattrLimit counts sets once, however many files have them, and the names
// of attributes that are left out as well.
func TestXattrLimit(t *testing.T) {
	same := []item{file("a", "", xattr("user.k", "12345678")), file("b", "", xattr("user.k", "12345678"))}
	for _, tt := range []struct {
		name  string
		items []item
		want  string
	}{
		{"equal sets", same, ""},
		{"another set", append(same, file("c", "", xattr("user.k", "87654321"))), "more than 20 bytes of extended attributes"},
		{"left out", append(same, file("c", "", xattr("system.k12345678", "x"))), "more than 20 bytes of extended attributes"},
	} {
		_, _, err := read(t, oci.MemoryImage(oci.Options{Limits: oci.Limits{XattrBytes: 20}}, tarOf(t, tt.items...)))
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v; want no error", tt.name, err)
			}
			continue
		}
		wantError(t, err, tt.want, fault.Refused)
	}
}

// TestChangedBetweenReads flips a byte after the first read.
func TestChangedBetweenReads(t *testing.T) {
	tars := tarsOf(t, [][]item{{file("a", "aaaa"), file("b", "bbbb")}})
	p, err := oci.Read(context.Background(), oci.MemoryImage(oci.Options{}, tars...), nil)
	if err != nil {
		t.Fatal(err)
	}
	copy(tars[0][512:], "AAAA")
	_, err = p.ReadFiles(context.Background(), []string{"a"}, 100)
	wantError(t, err, "its content has digest", fault.Verify)
	tars[0][0] = 'z' // the header's checksum is wrong now
	_, err = p.ReadFiles(context.Background(), []string{"a"}, 100)
	wantError(t, err, "its content has digest", fault.Verify)
}

func TestPlan(t *testing.T) {
	_, p, err := read(t, oci.MemoryImage(oci.Options{}, tarsOf(t, [][]item{
		{file("usr/lib/os-release", "NAME=old"), file("big", strings.Repeat("b", 100000))},
		{file("usr/lib/os-release", "NAME=x"), sym("etc/os-release", "../usr/lib/os-release"), sym("lib", "usr/lib"), sym("loop", "loop"),
			sym("out", "../../../big"), link("zbig", "big"), file("empty", ""), dir("d", xattr("trusted.overlay.opaque", "y")),
			file("x", "x", xattr("user.overlay.origin", ""), xattr("system.posix_acl_access", acl), record("SCHILY.acl.default", "u")),
			file("gone", "x", xattr("user.overlay.origin", ""))},
		{file("gone", "y"), file("n", "nn")},
	})...))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"trusted.overlay.opaque": 1, "user.overlay.origin": 1, "system.posix_acl_access": 1, "SCHILY.acl.default": 1}
	if diff := cmp.Diff(want, p.Dropped); diff != "" {
		t.Errorf("Dropped (-want +got):\n%s", diff)
	}
	if p.Files != 6 || p.Bytes != 100000+6+1+1+2 {
		t.Errorf("Files = %d, Bytes = %d; want 6, %d", p.Files, p.Bytes, 100010)
	}
	for path, want := range map[string]string{
		"etc/os-release": "usr/lib/os-release", "/lib/os-release": "usr/lib/os-release", "": "", "/": "", "out": "big",
		"zbig": "big", "usr/lib": "usr/lib", "usr/lib/nope": "-", "loop": "-", "big/x": "-",
	} {
		e, ok := p.Lookup(path)
		if ok != (want != "-") || ok && e.Path != want {
			t.Errorf("Lookup(%q) = %q, %v; want %q", path, e.Path, ok, want)
		}
	}
	files, err := p.ReadFiles(context.Background(), []string{"etc/os-release", "usr/lib/os-release", "n", "empty", "zbig", "nope"}, 100010)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for name, b := range files {
		got[name] = string(b)
	}
	wantFiles := map[string]string{"etc/os-release": "NAME=x", "usr/lib/os-release": "NAME=x", "n": "nn", "empty": "", "zbig": strings.Repeat("b", 100000)}
	if diff := cmp.Diff(wantFiles, got); diff != "" {
		t.Errorf("ReadFiles (-want +got):\n%s", diff)
	}
	_, err = p.ReadFiles(context.Background(), []string{"big", "n"}, 100001)
	wantError(t, err, "too large", fault.Refused)
	_, err = p.ReadFiles(context.Background(), []string{"usr"}, 1)
	wantError(t, err, `reading "usr": is a directory`, fault.Other)
}

// TestKeptFiles reads os-release when the layers are gone.
func TestKeptFiles(t *testing.T) {
	l := newLayout(t)
	tars := tarsOf(t, [][]item{{file("etc/os-release", "NAME=x"), file("a", "x")}})
	l.index(l.image("amd64", types.OCILayer, gzipped, tars...))
	img, err := resolve(t, "oci:"+l.dir, oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, p, err := read(t, img)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(l.dir, "blobs/sha256", digestOf(gzipped(t, tars[0])))); err != nil {
		t.Fatal(err)
	}
	files, err := p.ReadFiles(context.Background(), []string{"etc/os-release"}, 100)
	if err != nil || string(files["etc/os-release"]) != "NAME=x" {
		t.Errorf("ReadFiles = %q, %v", files, err)
	}
	_, err = p.ReadFiles(context.Background(), []string{"a"}, 100)
	wantError(t, err, "is missing in the layout", fault.Verify)
}

func TestProgress(t *testing.T) {
	l := newLayout(t)
	l.index(l.image("amd64", types.OCILayer, gzipped, twoLayers(t)...))
	last := map[string]oci.Progress{}
	img, err := resolve(t, "oci:"+l.dir, oci.Options{Progress: func(p oci.Progress) {
		if p.Done > p.Total || p.Done < last[p.Phase].Done {
			t.Errorf("progress %+v after %+v", p, last[p.Phase])
		}
		last[p.Phase] = p
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(t, img); err != nil {
		t.Fatal(err)
	}
	if p := last["read"]; p.Done == 0 || p.Done != p.Total || p.Total != img.Size() || len(last) != 1 {
		t.Errorf("last progress is %+v", last)
	}
}

// TestProgressOfSecondRead counts the layer that is read twice two times.
func TestProgressOfSecondRead(t *testing.T) {
	var last oci.Progress
	img := oci.MemoryImage(oci.Options{Progress: func(p oci.Progress) { last = p }},
		tarsOf(t, [][]item{{file("a", "1"), link("b", "a")}, {file("a", "2")}})...)
	if _, _, err := read(t, img); err != nil {
		t.Fatal(err)
	}
	want := img.Size() + img.Layers()[0].Size
	if last.Done != want || last.Total != want {
		t.Errorf("last progress is %+v; want %d bytes", last, want)
	}
}
