package oci_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/oci"
)

// A resting is Contents that counts.
type resting struct{ files, before int }

func (r *resting) File(string, int64, io.Reader) (fstree.Content, error) {
	r.files++
	return fstree.Content(r.files), nil
}

func (r *resting) Rest() { r.before = r.files }

// TestLate has the list made later, and the contents rest when all are read.
func TestLate(t *testing.T) {
	img := oci.MemoryImage(oci.Options{}, tarOf(t, oddItems()...))
	at := new(resting)
	want, err := oci.ReadWith(t.Context(), img, at, oci.ReadOptions{List: true})
	if err != nil {
		t.Fatal(err)
	}
	if at.files == 0 || at.before != at.files {
		t.Errorf("%d of %d files were read before the rest; want all", at.before, at.files)
	}
	p, err := oci.ReadWith(t.Context(), img, new(resting), oci.ReadOptions{List: true, Late: true})
	if err != nil || p.Layers != nil {
		t.Fatalf("a list of %d bytes, %v; want none yet", len(p.Layers), err)
	}
	if err := p.ListLayers(); err != nil || len(p.Layers) == 0 || !bytes.Equal(p.Layers, want.Layers) {
		t.Errorf("ListLayers() = %v, a list of %d bytes; want the same %d", err, len(p.Layers), len(want.Layers))
	}
	for _, opt := range []oci.ReadOptions{{}, {Late: true}} {
		p, err := oci.ReadWith(t.Context(), img, new(resting), opt)
		if err == nil {
			err = p.ListLayers()
		}
		if err != nil || p.Layers != nil {
			t.Errorf("%+v: a list of %d bytes, %v; want none", opt, len(p.Layers), err)
		}
	}
}
