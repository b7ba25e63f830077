package oci_test

import (
	"io"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/oci"
)

// oneByte has every file, of one byte.
type oneByte struct{}

func (oneByte) Open(string) (io.Reader, int64, error) { return strings.NewReader("x"), 1, nil }

// A list, and what is replayed from it, takes little more than reading takes.
func TestReplayMemory(t *testing.T) {
	files := 200_000
	if raceDetector {
		files /= 20
	}
	tars := [][]byte{zstdTar(t, func(w io.Writer) { writeFiles(t, w, files, oneDirectory) })}
	var list []byte
	for _, tt := range []struct {
		name  string
		local func() *oci.Local
		list  bool
	}{
		{"plain", func() *oci.Local { return nil }, false},
		{"with a list", func() *oci.Local { return nil }, true},
		{"replayed, with a list", func() *oci.Local { return &oci.Local{Layers: parse(t, list), Files: oneByte{}} }, true},
	} {
		opt := oci.ReadOptions{Local: tt.local(), List: tt.list}
		c := new(counter)
		var p *oci.Plan
		var err error
		peak := peakHeap(t, func() { p, err = oci.ReadWith(t.Context(), oci.MemoryImage(oci.Options{}, tars...), c, opt) })
		if err != nil || c.files != files {
			t.Fatalf("%s: %d files, %v; want %d", tt.name, c.files, err, files)
		}
		t.Logf("%s: peak heap %.1f MB, a list of %.1f MB, %d layers at hand", tt.name, float64(peak)/1e6, float64(len(p.Layers))/1e6, p.LocalLayers)
		if want := int64(36 << 20); peak > want {
			t.Errorf("%s: peak heap is %d bytes; want at most %d", tt.name, peak, want)
		}
		if opt.Local != nil && p.LocalLayers != 1 {
			t.Errorf("%s: %d layers at hand; want 1", tt.name, p.LocalLayers)
		}
		list = p.Layers
	}
}
