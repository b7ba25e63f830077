package squashfs_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

// TestRest rests at every place of an image, and wants the same bytes.
func TestRest(t *testing.T) {
	var contents [][]byte
	for i, size := range []int{100, 300_000, 2 << 20, 70_000, 100, 2 << 20, 5000, 128 << 10} {
		b := bytesOf(t, squashfstest.Noise(uint64(size), int64(size)), -1)
		if i%2 == 0 {
			b = bytes.Repeat(b[:size/100], 100)
		}
		contents = append(contents, b)
	}
	pack := func(rests int) []byte {
		sink := &memory{}
		w, err := newCreator(sink, squashfs.Options{Workers: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		for i, c := range contents {
			f := file(fmt.Sprint(i), squashfstest.Zero(0))
			f.Size = int64(len(c))
			if err := w.add(f.Entry, bytes.NewReader(c)); err != nil {
				t.Fatal(err)
			}
			for range rests {
				w.Rest()
			}
		}
		if _, err := w.close(); err != nil {
			t.Fatal(err)
		}
		w.Rest()
		return sink.image()
	}
	want := pack(0)
	for _, rests := range []int{1, 2} {
		if got := pack(rests); !bytes.Equal(got, want) {
			t.Errorf("%d rests after each file: another image", rests)
		}
	}
}

// TestRestGivesBack measures what is left.
func TestRestGivesBack(t *testing.T) {
	base := heap()
	w, err := newCreator(&discard{}, squashfs.Options{Workers: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for _, name := range []string{"a", "b"} {
		f := file(name, squashfstest.Noise(1, 3_000_000))
		if err := w.add(f.Entry, f.Content.Reader()); err != nil {
			t.Fatal(err)
		}
	}
	before := heap() - base
	w.Rest()
	after := heap() - base
	t.Logf("%d KiB before, %d KiB after", before>>10, after>>10)
	if after > before/10 {
		t.Errorf("%d KiB are left of %d KiB; want at most a tenth", after>>10, before>>10)
	}
}

// TestRestAfterError rests when jobs may be missing.
func TestRestAfterError(t *testing.T) {
	w, err := squashfs.NewWriter(&discard{}, squashfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.File("a", 3_000_000, bytes.NewReader(make([]byte, 2_000_000))); err == nil {
		t.Fatal("a content that ends early gave no error")
	}
	w.Rest()
	if _, err := w.File("b", 1, bytes.NewReader([]byte{1})); err == nil {
		t.Error("the writer goes on after an error")
	}
}
