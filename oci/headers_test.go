package oci_test

import (
	"archive/tar"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/oci"
	"github.com/google/go-cmp/cmp"
)

// TestHeaderBytes holds the memory that a layer's headers take.
func TestHeaderBytes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var items []item
	for i := range 20_000 {
		name := debianName(i)
		if i%8 == 0 {
			items = append(items, dir(name[:strings.LastIndexByte(name, '/')], mtime(stamp+int64(random.IntN(1e8)), 0)))
		}
		items = append(items, file(name, "x", mtime(stamp+int64(random.IntN(1e8)), 0)))
	}
	size, entries, err := oci.HeaderBytes(oci.MemoryImage(oci.Options{}, tarOf(t, items...)))
	if err != nil {
		t.Fatal(err)
	}
	each := float64(size) / float64(entries)
	t.Logf("%.1f bytes for each of %d entries", each, entries)
	if each > 20 || entries != len(items) {
		t.Errorf("%d entries take %.1f bytes each; want %d and at most 20", entries, each, len(items))
	}
}

// oddItems have every field at the edge of what it can be.
func oddItems() []item {
	random := rand.New(rand.NewPCG(3, 4))
	pick := func(n int) int { return random.IntN(n) }
	var items []item
	for i := range 600 {
		name := fmt.Sprintf("%s/%d", strings.TrimPrefix(strings.Repeat("/"+strings.Repeat("n", 1+pick(255)), 1+pick(6)), "/"), i)
		fields := []change{format(tar.FormatPAX), mode(int64(pick(1 << 12))), owner(random.IntN(math.MaxUint32), pick(2)*pick(math.MaxUint32)),
			mtime(int64(random.Uint64()>>pick(64))-int64(pick(1<<40)), 0)}
		if pick(3) == 0 {
			fields = []change{format(tar.FormatPAX)} // as the one before
		}
		if pick(4) == 0 {
			fields = append(fields, xattr("user.n", fmt.Sprint(pick(5))), xattr("security.x", strings.Repeat("v", pick(3000))))
		}
		if pick(4) == 0 {
			fields = append(fields, xattr("system.posix_acl_access", acl), xattr(fmt.Sprintf("trusted.overlay.%d", pick(3)), "x"))
		}
		switch pick(8) {
		case 0:
			items = append(items, dir(name, fields...))
		case 1:
			items = append(items, sym(name, strings.Repeat("t", 1+pick(4094)), fields...))
		case 2:
			items = append(items, dev([]byte{tar.TypeChar, tar.TypeBlock}[pick(2)], name, int64(pick(1<<12)), int64(pick(1<<20))))
		case 3:
			items = append(items, fifo(name, fields...))
		case 4:
			items = append(items, wh(name+".wh.x"), wh(".wh.nothing"), item{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}})
		case 5:
			items = append(items, file("target-of-"+fmt.Sprint(i), "t", fields...), link(name, "target-of-"+fmt.Sprint(i)))
		default:
			items = append(items, file(name, strings.Repeat("c", pick(100)), fields...))
		}
	}
	return items
}

// TestHeadersOfAllKinds reads odd entries, of which pages of headers begin and
// end with any.
func TestHeadersOfAllKinds(t *testing.T) {
	items := oddItems()
	model := make([]item, 0, len(items))
	for _, it := range items {
		if it.Typeflag != tar.TypeXGlobalHeader {
			model = append(model, it)
		}
	}
	want, err := flattenModel([][]item{model})
	if err != nil {
		t.Fatal(err)
	}
	img := oci.MemoryImage(oci.Options{}, tarOf(t, items...))
	got, p, err := read(t, img)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(lines(want), lines(got)); diff != "" {
		t.Errorf("read (-model +got):\n%s", diff)
	}
	dropped := map[string]int{}
	for _, it := range model {
		for key := range it.PAXRecords {
			if name := strings.TrimPrefix(key, "SCHILY.xattr."); strings.HasPrefix(name, "system.") || strings.HasPrefix(name, "trusted.") {
				dropped[name]++
			}
		}
	}
	if diff := cmp.Diff(dropped, p.Dropped); diff != "" {
		t.Errorf("Dropped (-want +got):\n%s", diff)
	}
	readTwice(t, img, got)
}

// TestKeptFilesAreBounded has more files called os-release than are kept.
func TestKeptFilesAreBounded(t *testing.T) {
	img := oci.MemoryImage(oci.Options{}, itemsLayer(500, func(i int) item {
		return file(fmt.Sprintf("%d/os-release", i), strings.Repeat("x", 60<<10))
	})(t)...)
	c := new(counter)
	var p *oci.Plan
	var err error
	peak := peakHeap(t, func() { p, err = oci.Read(t.Context(), img, c) })
	if err != nil || c.files != 500 || peak > 8<<20 {
		t.Fatalf("Read: %d files, %v, peak heap %d bytes", c.files, err, peak)
	}
	files, err := p.ReadFiles(t.Context(), []string{"0/os-release", "499/os-release"}, 1<<20)
	if err != nil || len(files["0/os-release"]) != 60<<10 || len(files["499/os-release"]) != 60<<10 {
		t.Errorf("ReadFiles gives %d files, %v", len(files), err)
	}
}

// TestWhatAnImageSaysOfItself asks for what everybody asks for, and for something else.
func TestWhatAnImageSaysOfItself(t *testing.T) {
	img := oci.MemoryImage(oci.Options{}, tarOf(t, file("usr/lib/os-release", "ID=x"), file("usr/lib/abupdate/kargs.d/a.toml", "kargs = []"), file("etc/motd", "hello")))
	fetched := oci.CountFetches(img)
	p, err := oci.Read(t.Context(), img, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path    string
		fetched int
	}{{"usr/lib/os-release", 1}, {"usr/lib/abupdate/kargs.d/a.toml", 1}, {"etc/motd", 2}} {
		files, err := p.ReadFiles(t.Context(), []string{tt.path}, 1<<20)
		if err != nil || files[tt.path] == nil || *fetched != tt.fetched {
			t.Errorf("ReadFiles(%s) = %q, %v; the layer was fetched %d times, want %d", tt.path, files, err, *fetched, tt.fetched)
		}
	}
}
