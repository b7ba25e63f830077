package squashfs_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

func BenchmarkWriter(b *testing.B) {
	const size = 16 << 20
	for _, data := range []struct {
		name    string
		content squashfstest.Content
	}{{"text", squashfstest.Text(1, size)}, {"noise", squashfstest.Noise(1, size)}} {
		whole := make([]byte, size)
		if _, err := io.ReadFull(data.content.Reader(), whole); err != nil {
			b.Fatal(err)
		}
		for _, opt := range []squashfs.Options{{Level: 1}, {}, {Level: 6}, {Compression: squashfs.Gzip}, {Compression: squashfs.None}} {
			b.Run(fmt.Sprintf("%s/%v-%d", data.name, opt.Compression, opt.Level), func(b *testing.B) {
				b.SetBytes(size)
				b.ReportAllocs()
				for b.Loop() {
					benchOne(b, whole, opt)
				}
			})
		}
	}
}

// benchOne writes one large file and the same bytes again as small ones.
func benchOne(b *testing.B, whole []byte, opt squashfs.Options) {
	sink := &discard{}
	w, err := newCreator(sink, opt)
	if err != nil {
		b.Fatal(err)
	}
	half := len(whole) / 2
	if err := w.add(fstree.Entry{Path: "large", Type: fstree.Regular, Size: int64(half)}, &slice{whole[:half]}); err != nil {
		b.Fatal(err)
	}
	for i := half; i < len(whole); i += 8192 {
		if err := w.add(fstree.Entry{Path: fmt.Sprint(i), Type: fstree.Regular, Size: 8192}, &slice{whole[i : i+8192]}); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := w.close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(sink.n)/float64(len(whole)), "ratio")
}

func BenchmarkEntries(b *testing.B) {
	const count = 20_000
	for b.Loop() {
		w, err := newCreator(&discard{}, squashfs.Options{})
		if err != nil {
			b.Fatal(err)
		}
		for i := range count {
			if err := w.add(fstree.Entry{Path: fmt.Sprintf("a/%d/%d", i/100, i), Type: fstree.FIFO}, nil); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/count, "ns/entry")
}
