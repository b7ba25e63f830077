package oci_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/oci"
	"github.com/google/go-cmp/cmp"
)

// A contentsFunc is a Contents.
type contentsFunc func(path string, size int64, r io.Reader) (fstree.Content, error)

func (f contentsFunc) File(path string, size int64, r io.Reader) (fstree.Content, error) {
	return f(path, size, r)
}

func TestContentsFails(t *testing.T) {
	tars := tarsOf(t, [][]item{{file("a", "aaaa"), file("b", "bbbb"), file("c", "cccc")}})
	stop := errors.New("enough")
	calls := 0
	_, err := oci.Read(context.Background(), oci.MemoryImage(oci.Options{}, tars...), contentsFunc(func(path string, _ int64, _ io.Reader) (fstree.Content, error) {
		if calls++; path == "b" {
			return 0, stop
		}
		return fstree.Content(calls), nil
	}))
	if err != stop || calls != 2 {
		t.Errorf("Read = %v after %d calls; want %v after 2", err, calls, stop)
	}
	_, err = oci.Read(context.Background(), oci.MemoryImage(oci.Options{}, tars...), contentsFunc(func(string, int64, io.Reader) (fstree.Content, error) {
		return fstree.NoContent, nil
	}))
	wantError(t, err, `taking "a": 4 bytes have no content`, fault.Other)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := oci.Read(ctx, oci.MemoryImage(oci.Options{}, tars...), nil); fault.KindOf(err) != fault.Canceled {
		t.Errorf("Read with a canceled context = %v", err)
	}
}

// TestSourceExplainsContents has a Contents that hides why it failed.
func TestSourceExplainsContents(t *testing.T) {
	tar := tarOf(t, file("a", strings.Repeat("x", 5000)))
	img := oci.MemoryImage(oci.Options{}, tar[:3000])
	_, err := oci.Read(context.Background(), img, contentsFunc(func(_ string, _ int64, r io.Reader) (fstree.Content, error) {
		_, err := io.Copy(io.Discard, r)
		if err == nil {
			t.Error("content that is cut ends without an error")
		}
		return 0, errors.New("cannot pack")
	}))
	wantError(t, err, `entry "a": unexpected EOF`, fault.Verify)
}

// TestUnreadContent leaves contents where they are.
func TestUnreadContent(t *testing.T) {
	img := oci.MemoryImage(oci.Options{}, tarOf(t, file("a", strings.Repeat("x", 5000)), file("b", "b")))
	n := fstree.Content(0)
	p, err := oci.Read(context.Background(), img, contentsFunc(func(string, int64, io.Reader) (fstree.Content, error) {
		n++
		return n, nil
	}))
	if err != nil || n != 2 || p.Bytes != 5001 || p.Unused != 0 {
		t.Errorf("Read = %+v, %v; File was called %d times", p, err, n)
	}
}

// A readRow says which contents Read takes in its first pass, which in second
// reads, and how many bytes are for nothing.
type readRow struct {
	name          string
	layers        [][]item
	taken, second []string
	unused        int64
	secondReads   int
}

var readRows = []readRow{
	{name: "from the highest layer down", layers: [][]item{{file("a", "1"), file("b", "2")}, {file("d", "3"), file("c", "4")}}, taken: []string{"d", "c", "a", "b"}},
	{name: "hidden names are passed over", layers: [][]item{{file("a", "1"), file("b", "2"), file("d/x", "3"), file("e/x", "4"), file("k/x", "5")}, {file("a", "6"), wh(".wh.b"), wh("d/.wh..wh..opq"), fifo("e"), dir("k")}},
		taken: []string{"a", "k/x"}},
	{name: "an entry for the root hides nothing", layers: [][]item{{file("a", "1"), dir("./")}, {dir("./"), file("b", "2")}}, taken: []string{"b", "a"}},
	{name: "an opaque root hides all", layers: [][]item{{file("a", "1")}, {wh(".wh..wh..opq"), file("b", "2")}}, taken: []string{"b"}},
	{name: "a name of a middle layer", layers: [][]item{{file("a", "1")}, {file("a", "2")}, {file("b", "3")}}, taken: []string{"b", "a"}},
	{name: "one name two times in a layer", layers: [][]item{{file("a", "12"), file("a", "3")}}, taken: []string{"a", "a"}, unused: 2},
	{name: "a name through a symlink", layers: [][]item{{file("d/x", "123"), sym("l", "d")}, {file("l/x", "4")}}, taken: []string{"l/x", "d/x"}, unused: 3},
	{name: "hardlink to a name that is hidden", layers: [][]item{{file("a", "1"), link("b", "a")}, {file("a", "2")}}, taken: []string{"a"}, second: []string{"b"}, secondReads: 1},
	{name: "hardlink between layers, its target whited out", layers: [][]item{{file("c", "1"), file("a", "2")}, {link("b", "a"), wh(".wh.a")}}, taken: []string{"c"}, second: []string{"b"}, secondReads: 1},
	{name: "second reads go from the highest layer down too", layers: [][]item{
		{file("a", "1"), link("b", "a"), file("c", "2"), link("d", "c")}, {file("e", "3"), link("f", "e")}, {wh(".wh.a"), wh(".wh.c"), file("e", "4")}},
		taken: []string{"e"}, second: []string{"f", "b", "d"}, secondReads: 2},
	{name: "a hidden name that comes back through a symlink", layers: [][]item{{sym("l", "d"), file("l/x", "1")}, {dir("l"), file("l/x", "2")}},
		taken: []string{"l/x"}, second: []string{"d/x"}, secondReads: 1},
	{name: "a layer listed two times is read once", layers: [][]item{lower, {file("c", "c")}, lower}, taken: []string{"a/1", "a/2", "a/s/3", "b", "c"}},
	{name: "two objects of one content", layers: [][]item{{file("a", "1")}, {link("b", "a")}, {file("a", "1")}}, taken: []string{"a"}},
	{name: "two objects of one content, read again", layers: [][]item{{file("a", "1")}, {link("b", "a")}, {file("a", "1")}, {link("c", "a"), wh(".wh.a")}},
		second: []string{"b"}, secondReads: 1},
	{name: "empty files have no content", layers: [][]item{{file("a", ""), link("b", "a")}, {wh(".wh.a")}}},
}

func TestReadOrder(t *testing.T) {
	for _, tt := range readRows {
		t.Run(tt.name, func(t *testing.T) {
			want, err := flattenModel(tt.layers)
			if err != nil {
				t.Fatal(err)
			}
			got, p, taken, err := readCollected(t, oci.MemoryImage(oci.Options{}, tarsOf(t, tt.layers)...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(lines(want), lines(got)); diff != "" {
				t.Errorf("flattened (-model +got):\n%s", diff)
			}
			var names []string
			for _, f := range taken {
				names = append(names, f.path)
			}
			if diff := cmp.Diff(slices.Concat(tt.taken, tt.second), names); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
			if p.Unused != tt.unused || p.SecondReads != tt.secondReads {
				t.Errorf("Unused = %d, SecondReads = %d; want %d, %d", p.Unused, p.SecondReads, tt.unused, tt.secondReads)
			}
		})
	}
}
