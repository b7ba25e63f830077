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
	buf := make([]byte, 32<<10)
	var n int64
	_, total := heap()
	p, err := oci.Read(context.Background(), img, contentsFunc(func(_ string, _ int64, r io.Reader) (fstree.Content, error) {
		m, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buf) // io.Discard has buffers of its own
		n += m
		return 0, err
	}))
	if err != nil || n != content+files {
		t.Fatalf("Read: %d bytes, %v", n, err)
	}
	after, end := heap()
	if each := int64(after-before) / files; each > 250 {
		t.Errorf("the plan holds %d bytes for each entry; want at most 250", each)
	}
	if end-total > content/2 {
		t.Errorf("reading %d bytes allocates %d", n, end-total)
	}
	runtime.KeepAlive(p)
}
