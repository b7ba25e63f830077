package oci_test

import (
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/oci"
)

// A counter takes contents and counts them.
type counter struct {
	files int
	bytes int64
	buf   [1 << 20]byte
}

func (c *counter) File(_ string, size int64, r io.Reader) (fstree.Content, error) {
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, c.buf[:])
	if err == nil && n != size {
		err = fmt.Errorf("content has %d bytes; want %d", n, size)
	}
	c.files++
	c.bytes += n
	return fstree.Content(c.files), err
}

// A largeRow is an image at the edge of what there is, and how much heap Read
// needs for it at most.
type largeRow struct {
	name   string
	layers func(t *testing.T) [][]byte
	limits oci.Limits
	files  int   // that contents takes
	bytes  int64 // of them; 0 is one for each file
	peak   int64
	want   string // error
	kind   fault.Kind
}

func largeRows(scale int) []largeRow {
	bombs := oci.Limits{LayerBytes: 64 << 20}
	return []largeRow{
		{name: "200,000 entries", layers: filesLayer(200_000/scale, debianName), files: 200_000 / scale, peak: 30 << 20},
		{name: "1,000,000 entries", layers: filesLayer(1_000_000/scale, debianName), files: 1_000_000 / scale, peak: 150 << 20},
		{name: "one directory of 200,000", layers: filesLayer(200_000/scale, oneDirectory), files: 200_000 / scale, peak: 30 << 20},
		{name: "127 layers, each hiding half of the one below", layers: staircase(2000 / scale), files: 128_000 / scale, peak: 36 << 20},
		{name: "names of 255 bytes, ten deep", layers: itemsLayer(2000, longName), files: 2000, peak: 8 << 20},
		{name: "100 extended attributes of 64 KiB", layers: itemsLayer(100, ownXattr), files: 100, peak: 24 << 20},
		// 2.5 MB are live. The rest is what the tar reader drops while the collector
		// runs, which counts it: 200 KiB for each entry. Not sharing takes 128 MB.
		{name: "2,000 files that share one of 64 KiB", layers: itemsLayer(2000/scale, sharedXattr), files: 2000 / scale, peak: 14 << 20},
		{name: "10 GiB sparse, GNU", layers: sparseLayer("--format=gnu"), files: 1, bytes: 10 << 30, peak: 4 << 20},
		{name: "10 GiB sparse, PAX", layers: sparseLayer("--format=pax"), files: 1, bytes: 10 << 30, peak: 4 << 20},
		{name: "a sparse file that is larger than allowed", layers: sparseLayer("--format=pax"), limits: oci.Limits{TotalBytes: 1 << 30},
			peak: 4 << 20, want: "files have more than 1073741824 bytes", kind: fault.Refused},
		{name: "gzip bomb", layers: func(t *testing.T) [][]byte { return [][]byte{gzipBomb(t, 256<<20)} }, limits: bombs,
			peak: 4 << 20, want: "more than 67108864 bytes when decompressed", kind: fault.Refused},
		{name: "zstd bomb", layers: func(*testing.T) [][]byte { return [][]byte{zstdBomb(10, 1<<30)} }, limits: bombs,
			peak: 6 << 20, want: "more than 67108864 bytes when decompressed", kind: fault.Refused},
		{name: "zstd with a window of 2 GiB", layers: func(*testing.T) [][]byte { return [][]byte{zstdBomb(21, 1<<21)} },
			peak: 4 << 20, want: "window size exceeded", kind: fault.Verify},
	}
}

// TestPeakMemory reads large images. Under the race detector they are smaller.
func TestPeakMemory(t *testing.T) {
	scale := 1
	if raceDetector {
		scale = 20
	}
	for _, tt := range largeRows(scale) {
		t.Run(tt.name, func(t *testing.T) {
			img := oci.MemoryImage(oci.Options{Limits: tt.limits}, tt.layers(t)...)
			c := new(counter)
			var p *oci.Plan
			var err error
			peak := peakHeap(t, func() { p, err = oci.Read(t.Context(), img, c) })
			t.Logf("peak heap %.1f MB", float64(peak)/1e6)
			if peak > tt.peak {
				t.Errorf("peak heap is %d bytes; want at most %d", peak, tt.peak)
			}
			if tt.want != "" {
				wantError(t, err, tt.want, tt.kind)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			runtime.KeepAlive(p)
			want := max(tt.bytes, int64(tt.files))
			if c.files != tt.files || c.bytes != want || p.Files != tt.files || p.Bytes != want || p.Unused != 0 || p.SecondReads != 0 {
				t.Errorf("%d files of %d bytes were taken, %d of %d are left, %d bytes unused, %d second reads; want %d files of %d bytes",
					c.files, c.bytes, p.Files, p.Bytes, p.Unused, p.SecondReads, tt.files, want)
			}
		})
	}
}
