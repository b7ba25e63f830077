package oci_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/oci"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// benchLayer has 2,000 files of 16 KiB, of words or of noise.
func benchLayer(b *testing.B, noise bool) []byte {
	b.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 500)
	for i := range words {
		words[i] = fmt.Sprintf("word%d ", random.Uint32()%100000)
	}
	var items []item
	for i := range 2000 {
		var body []byte
		for len(body) < 16<<10 {
			if noise {
				body = append(body, byte(random.Uint32()))
			} else {
				body = append(body, words[random.IntN(len(words))]...)
			}
		}
		items = append(items, file(fmt.Sprintf("d%d/f%d", i%40, i), string(body)))
	}
	return tarOf(b, items...)
}

// BenchmarkRead reads a layer of 33 MB, as a build does.
func BenchmarkRead(b *testing.B) {
	for _, noise := range []bool{false, true} {
		tar := benchLayer(b, noise)
		for _, p := range []struct {
			name string
			mt   types.MediaType
			pack func(testing.TB, []byte) []byte
		}{{"gzip", types.OCILayer, gzipped}, {"zstd", types.OCILayerZStd, zstded}, {"plain", types.OCIUncompressedLayer, plain}} {
			b.Run(fmt.Sprintf("%s/noise=%v", p.name, noise), func(b *testing.B) {
				l := newLayout(b)
				l.index(l.image("amd64", p.mt, p.pack, tar))
				img, err := resolve(b, "oci:"+l.dir, oci.Options{})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(tar)))
				b.ReportAllocs()
				for b.Loop() {
					benchRead(b, img)
				}
			})
		}
	}
}

func benchRead(b *testing.B, img *oci.Image) {
	buf := make([]byte, 256<<10)
	p, err := oci.Read(context.Background(), img, contentsFunc(func(_ string, _ int64, r io.Reader) (fstree.Content, error) {
		_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buf)
		return 0, err
	}))
	if err != nil {
		b.Fatal(err)
	}
	if p.SecondReads != 0 {
		b.Fatalf("%d layers were read twice", p.SecondReads)
	}
}

// BenchmarkHeaders reads and flattens 50,000 entries with next to no content.
func BenchmarkHeaders(b *testing.B) {
	img := oci.MemoryImage(oci.Options{}, zstdTar(b, func(w io.Writer) { writeFiles(b, w, 50_000, debianName) }))
	b.ReportAllocs()
	for b.Loop() {
		benchRead(b, img)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/50_000, "ns/entry")
}
