package oci_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/oci"
	gocmp "github.com/google/go-cmp/cmp"
)

// A workspace is a file system that is changed at random, and writes down what
// changed as a builder of images does, layer by layer. What it is in the end
// is what the layers must flatten to, with no rule of flattening involved.
type workspace struct {
	random *rand.Rand
	files  map[string]*body // nil: a directory
	writes int
}

// A body is a file's content; hardlinks share it. No two are equal.
type body struct{ text string }

func (w *workspace) write() *body {
	w.writes++
	return &body{fmt.Sprintf("content %d", w.writes)}
}

// pick is one of the paths that ok accepts, "" when there is none.
func (w *workspace) pick(ok func(path string, b *body) bool) string {
	var paths []string
	for _, p := range slices.Sorted(maps.Keys(w.files)) {
		if ok(p, w.files[p]) {
			paths = append(paths, p)
		}
	}
	if len(paths) == 0 {
		return ""
	}
	return paths[w.random.IntN(len(paths))]
}

func isFile(_ string, b *body) bool  { return b != nil }
func isEmpty(_ string, b *body) bool { return b == nil }

// newName is a name that is free.
func (w *workspace) newName() string {
	for {
		p := strings.TrimPrefix(fmt.Sprintf("%s/%c", w.pick(isEmpty), 'a'+w.random.IntN(20)), "/")
		if _, ok := w.files[p]; !ok {
			return p
		}
	}
}

func (w *workspace) remove(path string) {
	for p := range w.files {
		if p == path || under(p, path) {
			delete(w.files, p)
		}
	}
}

// change does one thing. A file that is written to leaves its hardlinks alone,
// as on an overlay, where the layers of real images come from.
func (w *workspace) change() {
	switch w.random.IntN(10) {
	case 0, 1:
		w.files[w.newName()] = nil
	case 2, 3:
		w.files[w.newName()] = w.write()
	case 4, 5:
		if p := w.pick(isFile); p != "" {
			w.files[p] = w.write()
		}
	case 6, 7:
		if p := w.pick(isFile); p != "" {
			w.files[w.newName()] = w.files[p]
		}
	case 8:
		w.remove(w.pick(func(string, *body) bool { return true }))
	case 9: // into something else
		if p := w.pick(func(string, *body) bool { return true }); p != "" {
			was := w.files[p]
			w.remove(p)
			if was == nil {
				w.files[p] = w.write()
			} else {
				w.files[p] = nil
			}
		}
	}
}

// layer is what changed since old: whiteouts first, then directories above
// their entries, files, and hardlinks behind the first name of their body.
func (w *workspace) layer(old map[string]*body) []item {
	var gone, dirs, files, links []item
	for _, p := range slices.Sorted(maps.Keys(old)) {
		was := old[p]
		now, ok := w.files[p]
		if above, there := w.files[parent(p)]; parent(p) != "" && (!there || above != nil) {
			continue // its directory went too
		}
		if !ok || (was == nil) != (now == nil) {
			gone = append(gone, wh(strings.TrimPrefix(parent(p)+"/.wh."+p[strings.LastIndexByte(p, '/')+1:], "/")))
		}
	}
	first := map[*body]string{}
	for _, p := range slices.Sorted(maps.Keys(w.files)) {
		b := w.files[p]
		was, ok := old[p]
		switch {
		case b == nil:
			dirs = append(dirs, dir(p))
		case ok && was == b:
			if first[b] == "" {
				first[b] = p // in a lower layer, and still good
			}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(w.files)) {
		b := w.files[p]
		if was, ok := old[p]; b == nil || ok && was == b {
			continue
		}
		if to := first[b]; to != "" {
			links = append(links, link(p, to))
			continue
		}
		first[b] = p
		files = append(files, file(p, b.text))
	}
	return slices.Concat(gone, dirs, files, links)
}

func (w *workspace) list() []found {
	all := []found{{Entry: fstree.Entry{Type: fstree.Directory, Mode: 0o755}}}
	first := map[*body]string{}
	for _, p := range slices.Sorted(maps.Keys(w.files)) {
		f := found{Entry: fstree.Entry{Path: p, Type: fstree.Directory, Mode: 0o755, ModTime: stamp}}
		if b := w.files[p]; b != nil && first[b] != "" {
			f.Entry = fstree.Entry{Path: p, Type: fstree.Hardlink, Linkname: first[b]}
		} else if b != nil {
			f = found{Entry: regular(p, len(b.text)), content: b.text}
			first[b] = p
		}
		all = append(all, f)
	}
	return all
}

// secondReads is how many layers hold a content that is left in the end, but
// that the first pass does not take. A content that is in several layers, as
// it was moved, is that of the highest.
func secondReads(layers [][]item, all []found) int {
	settled := map[string]bool{"": true}
	for _, f := range modelTaken(layers) {
		settled[f.content] = true
	}
	var n int
	for _, l := range slices.Backward(layers) {
		before := n
		for _, it := range l {
			left := slices.ContainsFunc(all, func(f found) bool { return f.content == it.body })
			if left && !settled[it.body] {
				n = before + 1
			}
			settled[it.body] = true
		}
	}
	return n
}

// TestRandomImages flattens layers as builders write them, and compares with
// where they come from and with umoci.
func TestRandomImages(t *testing.T) {
	const images, compared = 150, 12
	var twice int
	for seed := range uint64(images) {
		w := &workspace{random: rand.New(rand.NewPCG(seed, 1)), files: map[string]*body{}}
		var layers [][]item
		for range 2 + w.random.IntN(5) {
			old := maps.Clone(w.files)
			for range 1 + w.random.IntN(40) {
				w.change()
			}
			layers = append(layers, w.layer(old))
		}
		tars := tarsOf(t, layers)
		got, p, err := read(t, oci.MemoryImage(oci.Options{}, tars...))
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, describe(layers))
		}
		if diff := gocmp.Diff(lines(w.list()), lines(got)); diff != "" {
			t.Fatalf("seed %d: flattened (-workspace +got):\n%s\n%s", seed, diff, describe(layers))
		}
		if want := secondReads(layers, w.list()); p.SecondReads != want || p.Unused != 0 {
			t.Errorf("seed %d: %d second reads, %d bytes unused; want %d, 0\n%s", seed, p.SecondReads, p.Unused, want, describe(layers))
		}
		twice += cmp.Compare(p.SecondReads, 0)
		if seed < compared {
			compareRandom(t, tars, got)
		}
	}
	if twice == 0 || twice > images/2 {
		t.Errorf("%d of %d images have a layer that is read twice; want some", twice, images)
	}
}

func compareRandom(t *testing.T, tars [][]byte, got []found) {
	t.Helper()
	theirs, err := unpackUmoci(t, tars)
	if err != nil {
		t.Fatalf("umoci: %v", err)
	}
	if os.Getuid() != 0 {
		theirs, got = ordinary(theirs), ordinary(got)
	}
	if diff := gocmp.Diff(lines(theirs), lines(got)); diff != "" {
		t.Errorf("flattened (-umoci +got):\n%s", diff)
	}
}
