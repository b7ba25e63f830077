package oci_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/oci"
)

// The list of odd entries says of them what the layer says: what is read by it
// is compared in TestReplayRows, here with every field at its edge.
func TestLayerListOfAllKinds(t *testing.T) {
	tars := [][]byte{tarOf(t, oddItems()...), tarOf(t, file("upper", "u"))}
	if n := compareLocal(t, tars, handOf(t, tars[:1])); n != 1 {
		t.Errorf("%d layers are at hand; want 1", n)
	}
}

// The list of a Debian system is small.
func TestLayerListSize(t *testing.T) {
	const n = 20_000
	tar := zstdTar(t, func(w io.Writer) { writeFiles(t, w, n, debianName) })
	img := oci.MemoryImage(oci.Options{}, tar)
	_, p, _, err := readCollectedWith(t, img, oci.ReadOptions{List: true})
	if err != nil {
		t.Fatal(err)
	}
	each := float64(len(p.Layers)) / n
	t.Logf("%d bytes, %.1f for each of %d files", len(p.Layers), each, n)
	if each > 12 {
		t.Errorf("%.1f bytes for each file; want at most 12", each)
	}
	entries, err := oci.DrainLayers(parse(t, p.Layers))
	if err != nil || entries < n {
		t.Errorf("the list has %d entries, %v; want %d", entries, err, n)
	}
}

func TestParseLayersRefuses(t *testing.T) {
	_, p, _, err := readCollectedWith(t, oci.MemoryImage(oci.Options{}, tarOf(t, lower...)), oci.ReadOptions{List: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
		want   string
	}{
		{"nothing", func([]byte) []byte { return nil }, "no magic"},
		{"another magic", func(b []byte) []byte { b[0]++; return b }, "no magic"},
		{"a later version", func(b []byte) []byte { b[8] = 2; return b }, "version 2"},
		{"more layers than bytes", func(b []byte) []byte { b[14] = 1; return b }, "65537 layers"},
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }, "layer 1 of 1 ends behind it"},
		{"more behind it", func(b []byte) []byte { return append(b, 0) }, "1 bytes behind it"},
	} {
		if _, err := oci.ParseLayers(tt.change(bytes.Clone(p.Layers))); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: ParseLayers() = %v; want %q", tt.name, err, tt.want)
		}
	}
}

// A list that is not right, although who gave it says so, hurts nobody: bits
// are changed one after the other.
func TestLayersDamaged(t *testing.T) {
	tars := tarsOf(t, [][]item{{file("a/1", "one"), file("a/2", "two", xattr("user.k", "v")), sym("l", "a")}, {link("b", "a/1"), wh("a/.wh.2")}})
	local := handOf(t, tars)
	r, _, err := reader(t, tars, nil)
	if err != nil {
		t.Fatal(err)
	}
	unread := 0
	for i := range r.Layers {
		list, err := oci.ParseLayers(flip(r.Layers, i))
		if err != nil {
			unread++
			continue
		}
		if _, err := oci.DrainLayers(list); err != nil {
			unread++
		}
		img := oci.MemoryImage(oci.Options{}, tars...)
		_, _ = oci.ReadWith(t.Context(), img, new(counter), oci.ReadOptions{Local: &oci.Local{Layers: list, Files: local.Files}})
	}
	if unread < len(r.Layers)/3 { // digests make up as much
		t.Errorf("%d of %d changes were found; want most", unread, len(r.Layers))
	}
}

func FuzzLayers(f *testing.F) {
	_, p, _, err := readCollectedWith(f, oci.MemoryImage(oci.Options{}, tarOf(f, oddItems()[:40]...)), oci.ReadOptions{List: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Layers)
	f.Add([]byte("ABUPLYRS\x01\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := oci.ParseLayers(b)
		if err != nil {
			return
		}
		_, _ = oci.DrainLayers(l)
	})
}
