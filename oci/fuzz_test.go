package oci_test

import (
	"archive/tar"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/oci"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func long(s string, n int) string { return strings.Repeat(s, n) }

// capability is CAP_NET_BIND_SERVICE as the kernel stores it.
const capability = "\x01\x00\x00\x02\x00\x04\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// acl is u::rw-,u:1:r--,g::r--,m::r--,o::--- in the kernel's binary form.
const acl = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x01\x00\x00\x00" +
	"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"

// FuzzFlatten turns bytes into a few layers over a handful of names, and
// compares what comes of them with the model. Every three bytes are an entry:
// what it is, its name, and what it points at. Run it with -fuzzminimizetime=1x:
// goroutines make its coverage vary, which keeps the minimizer busy for nothing.
func FuzzFlatten(f *testing.F) {
	for _, seed := range []string{
		"\x05\x00\x00\x02\x04\x00\x00\x00\x00\x0c\x00\x00\x02\x05\x00", // a/ a/a, .wh.a a/b
		"\x05\x01\x00\x07\x00\x09\x00\x00\x00\x0e\x00\x00\x05\x00\x00", // b/ a->b, a/.opq a/
		"\x02\x00\x00\x0a\x01\x00\x00\x00\x00\x0c\x00\x00\x02\x01\x00", // a b=a, .wh.a b
		"\x07\x00\x01\x07\x01\x03\x02\x06\x00\x00\x00\x00\x0a\x08\x00", // a->.. b->/a/b a/c, b/b=a
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(compareWithModel)
}

// TestFlattenPrograms is FuzzFlatten without the search: many programs of
// which most are accepted.
func TestFlattenPrograms(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range programs {
		program := make([]byte, 3*(1+random.IntN(24)))
		for i := range program {
			program[i] = byte(random.Uint32())
		}
		compareWithModel(t, program)
	}
}

const programs = 800

func compareWithModel(t *testing.T, program []byte) {
	layers := layersOf(program)
	want, wantErr := flattenModel(layers)
	tars := tarsOf(t, layers)
	got, p, taken, err := readCollected(t, oci.MemoryImage(oci.Options{}, tars...))
	if (err != nil) != (wantErr != nil) {
		t.Fatalf("flattening: error %v; model: %v\n%s", err, wantErr, describe(layers))
	}
	if err != nil {
		return
	}
	if diff := cmp.Diff(lines(want), lines(got)); diff != "" {
		t.Errorf("flattened (-model +got):\n%s\n%s", diff, describe(layers))
	}
	first := modelTaken(layers)
	if len(taken) < len(first) || p.SecondReads == 0 && len(taken) > len(first) {
		t.Fatalf("%d files were taken, %d layers read twice; model takes %d in its first pass\n%s", len(taken), p.SecondReads, len(first), describe(layers))
	}
	if diff := cmp.Diff(first, taken[:len(first):len(first)], cmp.AllowUnexported(collected{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("taken in the first pass (-model +got):\n%s\n%s", diff, describe(layers))
	}
	readTwice(t, oci.MemoryImage(oci.Options{}, tars...), got)
	weak := oci.MemoryImage(oci.Options{}, tars...)
	oci.WeakHash(weak)
	again, _, err := read(t, weak)
	if diff := cmp.Diff(lines(want), lines(again)); err != nil || diff != "" {
		t.Errorf("paths with the same hash: error %v, flattened (-model +got):\n%s\n%s", err, diff, describe(layers))
	}
}

// readTwice reads all headers first and all contents then.
func readTwice(t *testing.T, img *oci.Image, want []found) {
	t.Helper()
	p, err := oci.Read(t.Context(), img, nil)
	if err != nil {
		t.Fatalf("reading headers: %v", err)
	}
	var all []found
	var paths []string
	for e := range p.Entries() {
		all = append(all, found{Entry: e})
		if e.Type == fstree.Regular {
			paths = append(paths, e.Path)
		}
	}
	files, err := p.ReadFiles(t.Context(), paths, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		all[i].content = string(files[all[i].Path])
	}
	if diff := cmp.Diff(lines(want), lines(sorted(t, all))); diff != "" {
		t.Errorf("headers first, contents then (-one pass +got):\n%s", diff)
	}
	if p.SecondReads != 0 || p.Unused != 0 {
		t.Errorf("headers alone: SecondReads = %d, Unused = %d", p.SecondReads, p.Unused)
	}
}

// FuzzLayer reads bytes that nobody made a tar of on purpose.
func FuzzLayer(f *testing.F) {
	f.Add(tarOf(f, file("a", "x"), link("b", "a"), sym("c", "a"), file("d", "x", xattr("user.a", "b"))))
	f.Add(tarOf(f, wh("a/.wh..wh..opq"), file(long("n", 200), "x", format(tar.FormatGNU)), dir("d")))
	f.Add(tarOf(f, dev(tar.TypeChar, "c", 5, 1), fifo("p"), file("f", "y", owner(1<<21, 1<<31), mtime(-1, 5), format(tar.FormatPAX))))
	f.Fuzz(func(t *testing.T, b []byte) {
		limits := oci.Limits{Entries: 100, TotalBytes: 1 << 20, LayerBytes: 1 << 20}
		all, p, err := read(t, oci.MemoryImage(oci.Options{Limits: limits}, b, b))
		if err == nil && len(all) > p.Tree.Len() {
			t.Errorf("%d entries listed, %d names in the tree", len(all), p.Tree.Len())
		}
	})
}

var fuzzNames = []string{
	"a", "b", "c", "d", "a/a", "a/b", "a/c", "b/a", "b/b", "b/c", "a/b/a", "a/b/c", "b/a/c", "c/a/b", "d/c", "./a/",
}

var fuzzTargets = append([]string{"/", "..", "../b", "/a/b", ".", "a/../b", "../../c/", "no/x"}, fuzzNames[:8]...)

func layersOf(program []byte) [][]item {
	layers := [][]item{{}}
	for n := 0; len(program) >= 3 && n < 40; n++ {
		op, name, to := program[0]%16, fuzzNames[program[1]%16], fuzzTargets[program[2]%16]
		linked := program[2] / 16
		program = program[3:]
		last := &layers[len(layers)-1]
		short := strings.TrimSuffix(name, "/")
		dirName, base := "", short
		if i := strings.LastIndexByte(short, '/'); i >= 0 {
			dirName, base = short[:i+1], short[i+1:]
		}
		switch op {
		case 0, 1:
			layers = append(layers, nil)
		case 2, 3, 4:
			*last = append(*last, file(short, strings.Repeat("x", len(*last)+len(layers))))
		case 5, 6:
			*last = append(*last, dir(name, mode(int64(0o700+len(*last)))))
		case 7, 8, 9:
			*last = append(*last, sym(short, to))
		case 10, 11:
			*last = append(*last, link(short, fuzzNames[linked]))
		case 12, 13:
			*last = append(*last, wh(dirName+".wh."+base))
		case 14:
			*last = append(*last, wh(name+"/.wh..wh..opq"))
		case 15:
			if linked > 11 {
				*last = append(*last, dir("./", mode(int64(0o700+len(*last)))))
				continue
			}
			*last = append(*last, fifo(short))
		}
	}
	return layers
}

// describe prints layers so that they can be made a row.
func describe(layers [][]item) string {
	var b strings.Builder
	for _, l := range layers {
		b.WriteString("layer:\n")
		for _, it := range l {
			switch it.Typeflag {
			case tar.TypeSymlink, tar.TypeLink:
				b.WriteString("  " + string(it.Typeflag) + " " + it.Name + " -> " + it.Linkname + "\n")
			default:
				b.WriteString("  " + string(it.Typeflag) + " " + it.Name + "\n")
			}
		}
	}
	return b.String()
}
