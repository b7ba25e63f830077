package updater_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/diff"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

const dpkgStatus = "Package: base\nStatus: install ok installed\nInstalled-Size: 100\nArchitecture: all\nVersion: %\n"

// twoVersions is a layout with the images v1 and v2. Between them some files
// stay, some change in a part, some come and some go.
func twoVersions(t *testing.T) string {
	t.Helper()
	common := map[string]string{}
	for i := range 40 {
		common["usr/lib/stay"+string(rune('a'+i%26))+string(rune('a'+i/26))] = ut.Noise("stay"+string(rune(i)), 12_000+i*400)
	}
	one, two := maps.Clone(common), maps.Clone(common)
	one["usr/bin/patched"] = ut.Noise("p", 600_000)
	two["usr/bin/patched"] = ut.Noise("p", 300_000) + ut.Noise("q", 300_000)
	one["usr/bin/gone"], two["usr/bin/fresh"] = ut.Noise("gone", 50_000), ut.Noise("fresh", 70_000)
	two["usr/bin/fresh2"] = two["usr/bin/fresh"] // the same content again
	one["etc/flag"], two["etc/flag"] = "off", "yes"
	one["etc/link"], two["etc/link"] = "-> a", "-> b"
	one["var/lib/dpkg/status"], two["var/lib/dpkg/status"] = strings.ReplaceAll(dpkgStatus, "%", "1.9"), strings.ReplaceAll(dpkgStatus, "%", "1.10")
	return ut.Layout(t, map[string]ut.Image{
		"v1": {Version: "1.0", Files: one, Labels: map[string]string{"note": "first"}},
		"v2": {Version: "2.0", Files: two, Kernel: "6.1.0-next"},
	})
}

// build makes an update and a raw slot image of an image.
func build(t *testing.T, ref, dir, raw string) *updater.Built {
	t.Helper()
	b, err := updater.Build(t.Context(), updater.BuildOptions{Ref: ref, Dir: dir, Raw: raw})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The estimate is what comparing the two images byte by byte gives, and it is
// the same whether they come as images, updates, raw files or in a slot.
func TestDiffFetchIsExact(t *testing.T) {
	dir, work := twoVersions(t), t.TempDir()
	updates := filepath.Join(work, "updates")
	raws := []string{filepath.Join(work, "1.raw"), filepath.Join(work, "2.raw")}
	one := build(t, "oci:"+dir+":v1", updates, raws[0])
	two := build(t, "oci:"+dir+":v2", updates, raws[1])
	disk := ut.Disk(t, "oci:"+dir+":v1")
	missing := bruteForce(readImage(t, raws[0], one.ImageBytes), readImage(t, raws[1], two.ImageBytes))
	if n := count(missing); n < 50 || n > len(missing)*3/4 {
		t.Fatalf("%d of %d blocks are missing: a test of nothing", n, len(missing))
	}
	for _, gap := range []int64{0, 8 << 10, 64 << 10, 1 << 30} {
		ranges, waste := runs(missing, int(gap/4096))
		want := diff.Fetch{
			ImageBytes: two.ImageBytes, MissingBlocks: int64(count(missing)), MissingBytes: int64(count(missing)) * 4096,
			Ranges: ranges, WasteBytes: int64(waste) * 4096, GapBytes: gap,
		}
		for _, pair := range [][2]string{
			{"oci:" + dir + ":v1", "oci:" + dir + ":v2"}, {"oci:" + updates + ":1.0", "oci:" + updates + ":2.0"},
			{raws[0], raws[1]}, {"a", "oci:" + updates + ":2.0"},
		} {
			for _, noFiles := range []bool{false, true} {
				got, err := updater.Diff(t.Context(), updater.DiffOptions{
					Old: pair[0], New: pair[1], Gap: gap, NoFiles: noFiles, Look: updater.LookOptions{Disk: disk}})
				if err != nil {
					t.Fatal(err)
				}
				f := got.Fetch
				if f.LocalBlocks+f.RepeatedBlocks+f.MissingBlocks != two.DataBlocks || f.MetadataBytes < two.TreeBytes {
					t.Errorf("%v: %+v: does not add up", pair, f)
				}
				f.LocalBlocks, f.RepeatedBlocks, f.MetadataBytes, f.TotalBytes, f.Percent = 0, 0, 0, 0, 0
				if d := cmp.Diff(want, f); d != "" {
					t.Errorf("%v, gap %d (-want +got):\n%s", pair, gap, d)
				}
			}
		}
	}
}

// readImage reads the squashfs at the start of a raw slot image.
func readImage(t *testing.T, path string, size int64) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b[:size]
}

// bruteForce says of each block of image whether it stands neither in old nor
// further ahead.
func bruteForce(old, image []byte) []bool {
	have := map[string]bool{}
	for ; len(old) > 0; old = old[4096:] {
		have[string(old[:4096])] = true
	}
	var missing []bool
	for ; len(image) > 0; image = image[4096:] {
		block := string(image[:4096])
		missing = append(missing, !have[block])
		have[block] = true
	}
	return missing
}

func count(missing []bool) int {
	n := 0
	for _, m := range missing {
		if m {
			n++
		}
	}
	return n
}

// runs counts ranges joined over gaps of up to gap blocks, and the blocks in
// these gaps.
func runs(missing []bool, gap int) (ranges, waste int) {
	since := gap + 1 // blocks since the last missing one
	for _, m := range missing {
		switch {
		case !m:
			since++
			continue
		case ranges > 0 && since <= gap:
			waste += since
		default:
			ranges++
		}
		since = 0
	}
	return ranges, waste
}

func TestDiff(t *testing.T) {
	dir := twoVersions(t)
	updates := filepath.Join(t.TempDir(), "updates")
	build(t, "oci:"+dir+":v1", updates, "")
	build(t, "oci:"+dir+":v2", updates, "")
	var changes []diff.FileChange
	for _, from := range []string{dir + ":v1|" + dir + ":v2", updates + ":1.0|" + updates + ":2.0", dir + ":v1|" + updates + ":2.0"} {
		before, after, _ := strings.Cut(from, "|")
		d, err := updater.Diff(t.Context(), updater.DiffOptions{Old: "oci:" + before, New: "oci:" + after})
		if err != nil {
			t.Fatal(err)
		}
		if changes != nil && !cmp.Equal(changes, d.Files.Changes) {
			t.Errorf("%s: other changes than between the images:\n%s", from, cmp.Diff(changes, d.Files.Changes))
		}
		changes = d.Files.Changes
		kinds := map[string]diff.Kind{}
		for _, c := range changes {
			kinds[c.Path] = c.Kind
		}
		want := map[string]diff.Kind{
			"/usr/bin/patched": diff.Content, "/usr/bin/gone": diff.Removed, "/usr/bin/fresh": diff.Added, "/usr/bin/fresh2": diff.Added,
			"/etc/flag": diff.Content, "/etc/link": diff.Metadata, "/var/lib/dpkg/status": diff.Content,
			"/usr/lib/modules/6.1.0-test": diff.Removed, "/usr/lib/modules/6.1.0-test/vmlinuz": diff.Removed,
			"/usr/lib/modules/6.1.0-next": diff.Added, "/usr/lib/modules/6.1.0-next/vmlinuz": diff.Added,
		}
		if diffs := cmp.Diff(want, kinds); diffs != "" {
			t.Errorf("%s: files (-want +got):\n%s", from, diffs)
		}
		wantPackages := diff.PackageChanges{Upgraded: 1, OldBytes: 100 << 10, NewBytes: 100 << 10, Changes: []diff.PackageChange{
			{Name: "base", Kind: diff.Upgraded, OldVersion: "1.9", NewVersion: "1.10", OldBytes: 100 << 10, NewBytes: 100 << 10}}}
		if diffs := cmp.Diff(&wantPackages, d.Packages); diffs != "" {
			t.Errorf("%s: packages (-want +got):\n%s", from, diffs)
		}
		for _, name := range []string{"version", "kernel"} {
			if !slices.ContainsFunc(d.Fields, func(f diff.Detail) bool { return f.Name == name }) {
				t.Errorf("%s: fields %v do not have %s", from, d.Fields, name)
			}
		}
		if slices.ContainsFunc(d.Fields, func(f diff.Detail) bool { return f.Name == "encoder" || f.Name == "salt" }) {
			t.Errorf("%s: fields %v: the encoder is the same", from, d.Fields)
		}
	}
}

// Nothing differs from itself, and nothing is fetched but metadata.
func TestDiffOfTheSame(t *testing.T) {
	ref := "oci:" + twoVersions(t) + ":v1"
	d, err := updater.Diff(t.Context(), updater.DiffOptions{Old: ref, New: ref})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Files.Changes)+len(d.Packages.Changes)+len(d.Fields)+len(d.Labels) > 0 || d.Fetch.MissingBlocks != 0 || d.Fetch.Ranges != 0 {
		t.Errorf("an image differs from itself: %+v", d)
	}
	if d.Files.Same.Files < 40 || d.Fetch.TotalBytes != d.Fetch.MetadataBytes {
		t.Errorf("%d files are the same, %d bytes to fetch", d.Files.Same.Files, d.Fetch.TotalBytes)
	}
}

func TestDiffLabels(t *testing.T) {
	dir := twoVersions(t)
	d, err := updater.Diff(t.Context(), updater.DiffOptions{Old: "oci:" + dir + ":v1", New: "oci:" + dir + ":v2", NoFiles: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []diff.Detail{{Name: "note", Old: "first"}, {Name: "org.opencontainers.image.version", Old: "1.0", New: "2.0"}}
	if diffs := cmp.Diff(want, d.Labels); diffs != "" {
		t.Errorf("labels (-want +got):\n%s", diffs)
	}
	if d.Files != nil || d.Packages != nil {
		t.Errorf("NoFiles compared files %v and packages %v", d.Files, d.Packages)
	}
}

// The estimate depends on how the image is packed, so other options give
// another one.
func TestDiffPacksAsTold(t *testing.T) {
	dir := twoVersions(t)
	opt := updater.DiffOptions{Old: "oci:" + dir + ":v1", New: "oci:" + dir + ":v2", NoFiles: true}
	plain, err := updater.Diff(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	opt.Look.Source.Squashfs = squashfs.Options{Layout: squashfs.Compact, BlockSize: 1 << 20}
	compact, err := updater.Diff(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if plain.Fetch == compact.Fetch || compact.New.Encoder == plain.New.Encoder {
		t.Errorf("the same estimate for %s and %s", plain.New.Encoder, compact.New.Encoder)
	}
}

// A damaged block is found when the file that it belongs to is read, and no
// temporary file is left behind.
func TestDiffOfADamagedSlot(t *testing.T) {
	dir, work, tmp := twoVersions(t), t.TempDir(), t.TempDir()
	raw := filepath.Join(work, "1.raw")
	built := build(t, "oci:"+dir+":v1", "", raw)
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	at := built.ImageBytes / 2
	b[at] ^= 1
	if err := os.WriteFile(raw, b, 0o644); err != nil {
		t.Fatal(err)
	}
	opt := updater.DiffOptions{Old: raw, New: "oci:" + dir + ":v1", Look: updater.LookOptions{TempDir: tmp}}
	if _, err := updater.Diff(t.Context(), opt); fault.KindOf(err) != fault.Verify || !strings.Contains(err.Error(), "1.raw") {
		t.Errorf("Diff() of a damaged file = %v; want kind Verify and its name", err)
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	b[at] ^= 1
	b[built.HashOffset+2*4096+100] ^= 1 // the hash tree
	if err := os.WriteFile(raw, b, 0o644); err != nil {
		t.Fatal(err)
	}
	opt.NoFiles = true
	if _, err := updater.Diff(t.Context(), opt); fault.KindOf(err) != fault.Verify {
		t.Errorf("Diff() with a damaged hash tree = %v; want kind Verify", err)
	}
}

// An update's squashfs is not fetched when no file is asked for.
func TestDiffWithoutTheSquashfs(t *testing.T) {
	dir, updates := twoVersions(t), filepath.Join(t.TempDir(), "updates")
	build(t, "oci:"+dir+":v1", updates, "")
	build(t, "oci:"+dir+":v2", updates, "")
	paths, _ := filepath.Glob(filepath.Join(updates, "blobs", "sha256", "*"))
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(b, []byte("hsqs")) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	opt := updater.DiffOptions{Old: "oci:" + updates + ":1.0", New: "oci:" + updates + ":2.0", NoFiles: true}
	if _, err := updater.Diff(t.Context(), opt); err != nil {
		t.Errorf("Diff() with NoFiles = %v", err)
	}
	opt.NoFiles = false
	if _, err := updater.Diff(t.Context(), opt); err == nil {
		t.Error("Diff() read files from nowhere")
	}
}
