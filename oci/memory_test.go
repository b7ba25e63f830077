package oci_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/oci"
)

func heap() (live, total uint64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.TotalAlloc
}

// TestMemory keeps the promise of the package's doc: bytes for each entry, and
// none for contents.
func TestMemory(t *testing.T) {
	const files, content = 5000, 64 << 20
	items := []item{file("big", string(make([]byte, content)))}
	for i := range files {
		items = append(items, file(fmt.Sprintf("usr/share/doc/package-%d/file-%d", i%100, i), "x"))
	}
	tar := tarOf(t, items...)
	items = nil
	before, _ := heap()
	img := oci.MemoryImage(oci.Options{}, tar)
	ix, err := oci.ReadIndex(context.Background(), img)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ix.Plan()
	if err != nil {
		t.Fatal(err)
	}
	after, _ := heap()
	if each := int64(after-before) / files; each > 700 {
		t.Errorf("index and plan hold %d bytes for each entry; want at most 700", each)
	}
	var n int64
	buf := make([]byte, 32<<10)
	_, total := heap()
	err = p.Each(context.Background(), func(_ fstree.Entry, r io.Reader) error {
		m, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buf) // io.Discard has buffers of its own
		n += m
		return err
	})
	if err != nil || n != content+files {
		t.Fatalf("Each: %d bytes, %v", n, err)
	}
	if _, end := heap(); end-total > content/2 {
		t.Errorf("streaming %d bytes allocates %d", n, end-total)
	}
	runtime.KeepAlive(ix)
}
