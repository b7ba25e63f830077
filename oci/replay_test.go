package oci_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/oci"
	"github.com/google/go-cmp/cmp"
)

// hand has the files of an image that was read before.
type hand struct {
	contents map[string]string
	opened   int
	// spoil, when set, says how many bytes of a file are good.
	spoil func(path, content string) int
}

var errSpoilt = errors.New("spoilt")

func (h *hand) Open(path string) (io.Reader, int64, error) {
	h.opened++
	s, ok := h.contents[path]
	if !ok {
		return nil, 0, fmt.Errorf("there is no %q", path)
	}
	if h.spoil == nil {
		return strings.NewReader(s), int64(len(s)), nil
	}
	good := h.spoil(path, s)
	if good > len(s) {
		return strings.NewReader(s), int64(len(s)), nil
	}
	switch { // every way to be bad
	case good == 0 && h.opened%2 == 0:
		return nil, 0, errSpoilt
	case good == 0:
		return strings.NewReader(s), int64(len(s)) + 1, nil
	case h.opened%2 == 0:
		return strings.NewReader(s[:good]), int64(len(s)), nil
	}
	return io.MultiReader(strings.NewReader(s[:good]), failing{}), int64(len(s)), nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errSpoilt }

// handOf is what a machine has after it got an image.
func handOf(t testing.TB, tars [][]byte) *oci.Local {
	t.Helper()
	all, p, _, err := readCollectedWith(t, oci.MemoryImage(oci.Options{}, tars...), oci.ReadOptions{List: true})
	if err != nil {
		t.Fatal(err)
	}
	h := &hand{contents: map[string]string{}}
	for _, f := range all {
		if f.Type == fstree.Hardlink {
			h.contents[f.Path] = h.contents[f.Linkname]
		} else if f.Type == fstree.Regular {
			h.contents[f.Path] = f.content
		}
	}
	return &oci.Local{Layers: parse(t, p.Layers), Files: h}
}

func parse(t testing.TB, list []byte) *oci.LayerList {
	t.Helper()
	l, err := oci.ParseLayers(list)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A reading is all that must not depend on what was at hand.
type reading struct {
	Listing []string
	Taken   []string
	Dropped map[string]int
	Layers  []byte
	Counts  [3]int64
}

func reader(t testing.TB, tars [][]byte, local *oci.Local) (reading, *oci.Plan, error) {
	t.Helper()
	all, p, taken, err := readCollectedWith(t, oci.MemoryImage(oci.Options{}, tars...), oci.ReadOptions{Local: local, List: true})
	if err != nil {
		return reading{}, nil, err
	}
	r := reading{Listing: lines(all), Dropped: p.Dropped, Layers: p.Layers, Counts: [3]int64{int64(p.Files), p.Bytes, p.Unused}}
	for _, f := range taken {
		r.Taken = append(r.Taken, f.path+": "+f.content)
	}
	return r, p, nil
}

// compareLocal reads an image with what another one left, and without. It
// returns how many layers need not be fetched.
func compareLocal(t *testing.T, tars [][]byte, local *oci.Local) int {
	t.Helper()
	want, full, err := reader(t, tars, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, p, err := reader(t, tars, local)
	if err != nil {
		t.Fatalf("with what is at hand: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("with what is at hand (-without +with):\n%s", diff)
	}
	if p.SecondReads > full.SecondReads {
		t.Errorf("%d layers read twice; without what is at hand %d", p.SecondReads, full.SecondReads)
	}
	return p.LocalLayers
}

// Whatever image came before, the next is what it would be without.
func TestReplayRows(t *testing.T) {
	var replayed, spoilt int
	for _, rows := range [][]flattenRow{whiteoutRows, typeRows, hardlinkRows, parentRows, metadataRows} {
		for _, tt := range rows {
			if tt.wantErr != "" {
				continue
			}
			tars := tarsOf(t, tt.layers)
			t.Run(tt.name, func(t *testing.T) {
				for n := 1; n <= len(tars); n++ {
					local := handOf(t, tars[:n])
					for m := 1; m <= len(tars); m++ {
						if _, _, err := reader(t, tars[:m], nil); err != nil {
							continue // the row's layers need each other
						}
						replayed += compareLocal(t, tars[:m], local)
						if m == len(tars) {
							spoilt += compareSpoilt(t, tars[:m], local)
						}
					}
				}
			})
		}
	}
	if replayed < 300 || spoilt < 300 {
		t.Errorf("%d layers were replayed, %d files spoilt; want hundreds", replayed, spoilt)
	}
}

// compareSpoilt spoils the files at hand in turn, from their start and from
// within.
func compareSpoilt(t *testing.T, tars [][]byte, local *oci.Local) (spoilt int) {
	t.Helper()
	h := local.Files.(*hand)
	defer func() { h.spoil = nil }()
	for path := range h.contents {
		for _, good := range []int{0, 1} {
			h.spoil = func(p, s string) int {
				if p != path {
					return len(s) + 1
				}
				spoilt++
				return min(good, len(s)-1)
			}
			compareLocal(t, tars, local)
		}
	}
	return spoilt
}

// Images as builders write them, of which each grew out of the other or out of
// a common base.
func TestReplayRandomImages(t *testing.T) {
	var replayed, layers int
	for seed := range uint64(120) {
		w := &workspace{random: rand.New(rand.NewPCG(seed, 7)), files: map[string]*body{}}
		base := randomLayers(w, 1+w.random.IntN(3))
		before := maps.Clone(w.files)
		old := slices.Concat(base, randomLayers(w, w.random.IntN(3)))
		if seed%2 == 0 { // not on top of the old one, but in its place
			w.files = before
		} else {
			base = old
		}
		next := slices.Concat(base, randomLayers(w, 1+w.random.IntN(2)))
		local := handOf(t, tarsOf(t, old))
		replayed += compareLocal(t, tarsOf(t, next), local)
		layers += len(base)
		if seed%10 == 0 {
			compareSpoilt(t, tarsOf(t, next), local)
		}
	}
	t.Logf("%d of %d layers that were there before are replayed", replayed, layers)
	if replayed < layers/4 || replayed == layers {
		t.Errorf("%d of %d layers that were there before are replayed; want a good part", replayed, layers)
	}
}

func randomLayers(w *workspace, n int) (layers [][]item) {
	for range n {
		old := maps.Clone(w.files)
		for range 1 + w.random.IntN(30) {
			w.change()
		}
		layers = append(layers, w.layer(old))
	}
	return layers
}

// replayRows say what is fetched of an image after another one.
var replayRows = []struct {
	name      string
	old, next [][]item
	fetched   int // times that a layer is opened
	local     int
}{
	{"nothing before", nil, [][]item{{file("a", "1")}}, 1, 0},
	{"base and upgrade, after base", [][]item{lower}, [][]item{lower, {file("b", "new")}}, 1, 1},
	{"base and upgrade, after base and another upgrade of the same", [][]item{lower, {file("b", "x")}}, [][]item{lower, {file("b", "new")}}, 1, 1},
	{"base and upgrade, after base and an upgrade of something else", [][]item{lower, {file("a/1", "x")}}, [][]item{lower, {file("b", "new")}}, 2, 0},
	{"all that is hidden now was hidden before", [][]item{lower, {wh(".wh.a")}}, [][]item{lower, {wh(".wh.a")}, {file("c", "3")}}, 1, 2},
	{"back to the base", [][]item{lower, {file("c", "x")}}, [][]item{lower}, 0, 1},
	{"back to the base, a part of which is gone", [][]item{lower, {wh("a/.wh.1")}}, [][]item{lower}, 1, 0},
	{"moved by a hardlink", [][]item{{file("a", "1")}, {link("b", "a"), wh(".wh.a")}}, [][]item{{file("a", "1")}, {file("c", "2")}}, 1, 1},
	{"a hidden name that a hardlink needs", [][]item{{file("a", "1")}}, [][]item{{file("a", "1")}, {link("b", "a"), wh(".wh.a")}}, 1, 1},
	{"a hidden name that a hardlink needs, of a layer that is fetched for something else",
		[][]item{{file("a", "1"), file("z", "2")}, {wh(".wh.z")}}, [][]item{{file("a", "1"), file("z", "2")}, {link("b", "a"), wh(".wh.a")}}, 2, 0},
	{"one name two times in a layer", [][]item{{file("a", "12"), file("a", "3")}}, [][]item{{file("a", "12"), file("a", "3")}}, 1, 0},
	{"one name two times in a layer, hidden", [][]item{{file("a", "12"), file("a", "3")}, {wh(".wh.a")}}, [][]item{{file("a", "12"), file("a", "3")}, {fifo("a")}}, 1, 1},
	{"nothing but directories", [][]item{{dir("a")}, {sym("b", "a")}}, [][]item{{sym("b", "a")}, {dir("a")}}, 0, 2},
	{"a layer listed two times", [][]item{lower}, [][]item{lower, {file("c", "c")}, lower}, 1, 1},
	{"in another order", [][]item{lower, {file("c", "3")}}, [][]item{{file("c", "3")}, lower}, 0, 2},
}

func TestReplayFetches(t *testing.T) {
	for _, tt := range replayRows {
		t.Run(tt.name, func(t *testing.T) {
			tars := tarsOf(t, tt.next)
			local := handOf(t, tarsOf(t, tt.old))
			compareLocal(t, tars, local)
			img := oci.MemoryImage(oci.Options{}, tars...)
			fetched := oci.CountFetches(img)
			_, p, _, err := readCollectedWith(t, img, oci.ReadOptions{Local: local})
			if err != nil {
				t.Fatal(err)
			}
			if *fetched != tt.fetched || p.LocalLayers != tt.local {
				t.Errorf("layers opened %d times, %d at hand; want %d and %d", *fetched, p.LocalLayers, tt.fetched, tt.local)
			}
		})
	}
}

// Headers need no contents, and contents that are asked for later are at hand.
func TestReplayHeaders(t *testing.T) {
	tars := tarsOf(t, [][]item{{file("etc/os-release", "ID=x"), file("a", "1"), file("hidden", "2")}, {wh(".wh.hidden")}})
	local := handOf(t, tars)
	for _, tt := range []struct {
		paths   []string
		fetched int
	}{{[]string{"etc/os-release", "a"}, 0}, {[]string{"hidden"}, 1}} {
		img := oci.MemoryImage(oci.Options{}, tars[0])
		fetched := oci.CountFetches(img)
		p, err := oci.ReadWith(t.Context(), img, nil, oci.ReadOptions{Local: local, List: true})
		if err != nil || p.Layers != nil || p.LocalLayers != 1 {
			t.Fatalf("headers: %v, %d layers at hand, a list of %d bytes; want 1 and none", err, p.LocalLayers, len(p.Layers))
		}
		files, err := p.ReadFiles(t.Context(), tt.paths, 1<<20)
		if err != nil || len(files) != len(tt.paths) || *fetched != tt.fetched {
			t.Errorf("ReadFiles(%q) = %q, %v with %d fetches; want %d", tt.paths, files, err, *fetched, tt.fetched)
		}
	}
}

// Progress ends where it would, and says what was not fetched.
func TestReplayProgress(t *testing.T) {
	big := file("big", strings.Repeat("b", 3<<20))
	tars := tarsOf(t, [][]item{{big, file("spoilt", strings.Repeat("s", 5000))}, {file("new", "x")}})
	local := handOf(t, tars[:1])
	for _, spoilt := range []bool{false, true} {
		var last oci.Progress
		img := oci.MemoryImage(oci.Options{Progress: func(p oci.Progress) { last = p }}, tars...)
		if spoilt {
			local.Files.(*hand).spoil = func(path, content string) int {
				if path == "spoilt" {
					return 4000
				}
				return len(content) + 1
			}
		}
		_, p, _, err := readCollectedWith(t, img, oci.ReadOptions{Local: local})
		if err != nil {
			t.Fatal(err)
		}
		want := oci.Progress{Phase: "read", Done: img.Size(), Total: img.Size(), Local: int64(len(tars[0]))}
		layers := 1
		if spoilt {
			want.Local, layers = 0, 0
		}
		if last != want || p.LocalBytes != want.Local || p.LocalLayers != layers {
			t.Errorf("spoilt %v: progress %+v, plan has %d layers and %d bytes at hand; want %+v", spoilt, last, p.LocalLayers, p.LocalBytes, want)
		}
	}
}

// What goes wrong when a layer takes over from what was at hand is told as
// ever.
func TestReplayFails(t *testing.T) {
	tars := tarsOf(t, [][]item{{file("a", strings.Repeat("1", 5000)), file("b", "2")}})
	local := handOf(t, tars)
	h := local.Files.(*hand)
	h.spoil = func(string, string) int { return 1000 }
	t.Run("a layer that changed", func(t *testing.T) {
		img := oci.MemoryImage(oci.Options{}, bytes.Clone(tars[0]))
		oci.Corrupt(img, 0)
		_, _, _, err := readCollectedWith(t, img, oci.ReadOptions{Local: local})
		wantError(t, err, "its content has digest", fault.Verify)
		wantError(t, err, "layer 1 of 1", fault.Verify)
	})
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		h.spoil = func(_, s string) int { cancel(); return len(s) + 1 }
		_, err := oci.ReadWith(ctx, oci.MemoryImage(oci.Options{}, tars...), &collector{t: t}, oci.ReadOptions{Local: local})
		if fault.KindOf(err) != fault.Canceled {
			t.Errorf("Read = %v; want it canceled", err)
		}
	})
	t.Run("who takes contents", func(t *testing.T) {
		h.spoil = nil
		broken := contentsFunc(func(string, int64, io.Reader) (fstree.Content, error) { return 0, errSpoilt })
		_, err := oci.ReadWith(t.Context(), oci.MemoryImage(oci.Options{}, tars...), broken, oci.ReadOptions{Local: local})
		if err != errSpoilt {
			t.Errorf("Read = %v; want %v as it is", err, errSpoilt)
		}
	})
	t.Run("limits", func(t *testing.T) {
		img := oci.MemoryImage(oci.Options{Limits: oci.Limits{Entries: 1}}, tars...)
		_, _, _, err := readCollectedWith(t, img, oci.ReadOptions{Local: local})
		wantError(t, err, "more than 1 entries", fault.Refused)
	})
}
