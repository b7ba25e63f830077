package conformance_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDifferential compares real images; doc.go says with what.
func TestDifferential(t *testing.T) {
	dir, err := imagesDir()
	if err != nil {
		t.Fatal(err)
	}
	for i := range images {
		im := &images[i]
		t.Run(im.name, func(t *testing.T) {
			t.Parallel()
			im.compare(t, dir)
		})
	}
}

func (im *image) compare(t *testing.T, dir string) {
	oracle := im.tag()
	if im.same != "" {
		oracle = im.same
	}
	f, err := readFacts(dir, oracle)
	if err != nil {
		t.Fatal(err)
	}
	ref := unpack(t, dir, oracle, f)
	im.checkFeatures(t, f, ref)

	raw, m := im.build(t, dir, "1")
	again, _ := im.build(t, dir, "3")
	if one, three := sum(t, raw), sum(t, again); one != three {
		t.Errorf("SHA-256 of the slot image is %s with one worker and %s with three; want the same", one, three)
	}

	c := &comparison{grants: im.exceptions, granted: map[string]int{}}
	if privileged() {
		l, err := mounted(t, raw)
		if err != nil {
			t.Fatal(err)
		}
		report(t, "the kernel", c.differences(ref, l))
	}
	if diff := cmp.Diff(acls(ref), m.Dropped); diff != "" {
		t.Errorf("build says that it left out other attributes than it did (-want +got):\n%s", diff)
	}
	c.checkUnsquashfs(t, ref, raw)
	checkStat(t, raw, m, ref)
	must(t, "veritysetup", "verify", raw, raw, m.RootHash, "--hash-offset="+strconv.FormatInt(m.HashOffset, 10))
	for _, name := range slices.Sorted(maps.Keys(c.granted)) {
		t.Logf("%d times: %s", c.granted[name], name)
	}
	t.Logf("%d entries, %d layers, image of %d KiB", len(ref), f.features.layers, sizeOf(t, raw)>>10)
}

// acls counts the attributes that have to be left out; nil is none.
func acls(l listing) map[string]int {
	var n map[string]int
	for _, o := range l {
		for _, x := range o.xattrList() {
			if slices.Contains(aclNames, x.Name) {
				if n == nil {
					n = map[string]int{}
				}
				n[x.Name]++
			}
		}
	}
	return n
}

// report prints the first differences.
func report(t *testing.T, who string, differences []string) {
	t.Helper()
	const most = 20
	for _, d := range differences[:min(len(differences), most)] {
		t.Errorf("by %s: %s", who, d)
	}
	if len(differences) > most {
		t.Errorf("by %s: and %d differences more", who, len(differences)-most)
	}
}

// checkFeatures makes sure that the image is still what it is there for.
func (im *image) checkFeatures(t *testing.T, f *facts, l listing) {
	t.Helper()
	got, want := f.features, im.want
	for name, o := range l {
		for n, is := range map[*int]bool{
			&got.hardlinks: o.Same != "" && o.Same != name, &got.devices: o.Rdev != "",
			&got.capabilities: strings.Contains(o.Xattrs, "security.capability"),
			&got.setuid:       o.Type == "-" && o.Mode&0o6000 != 0,
			&got.odd:          strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }),
		} {
			if is {
				*n++
			}
		}
	}
	if got.hardlinks < want.hardlinks || got.devices < want.devices || got.capabilities < want.capabilities || got.setuid < want.setuid ||
		got.odd < want.odd || got.layers < want.layers || got.whiteouts < want.whiteouts || got.opaque < want.opaque {
		t.Errorf("the image has %+v; want at least %+v", got, want)
	}
}

// A manifest is what the comparison needs of what "build --json" prints.
type manifest struct {
	RootHash   string `json:"root_hash"`
	HashOffset int64  `json:"hash_offset"`
	ImageBytes int64  `json:"image_bytes"`

	Dropped map[string]int `json:"dropped_xattrs"` // attributes that were left out
}

func (im *image) build(t *testing.T, dir, workers string) (raw string, m manifest) {
	t.Helper()
	ref := "oci:" + dir + ":" + im.tag()
	if im.reference != "" {
		ref = fmt.Sprintf(im.reference, dir)
	}
	raw = filepath.Join(scratch(t), "slot.img")
	out := runs(t, abupdate(t, "build", ref, "--raw", raw, "--no-kernel", "--json", "--workers", workers))
	if err := json.Unmarshal([]byte(out), &m); err != nil || m.RootHash == "" {
		t.Fatalf("build --json printed %q (%v); want a manifest", out, err)
	}
	return raw, m
}

// runs runs a command that has to succeed and returns its output.
func runs(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return string(out)
}

func sum(t *testing.T, file string) string {
	t.Helper()
	s, err := digest(file, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkUnsquashfs compares what unsquashfs extracts and lists.
func (c *comparison) checkUnsquashfs(t *testing.T, ref listing, raw string) {
	t.Helper()
	listed := rows(t, raw)
	extracted := unsquash(t, raw, listed)
	want := listing{}
	wantRows := map[string]row{}
	for name, o := range ref {
		wantRows[name] = rowOf(o)
		if !privileged() {
			o = unprivileged(o)
		}
		want[name] = o
	}
	report(t, "unsquashfs", c.differences(want, extracted))
	if diff := cmp.Diff(wantRows, listed); diff != "" {
		t.Errorf("unsquashfs -lln differs (-want +got):\n%s", diff)
	}
}

// unprivileged takes away what an ordinary user's unsquashfs cannot make.
func unprivileged(o object) object {
	var others []string
	for _, x := range o.xattrList() {
		if !strings.HasPrefix(x.Name, "user.") {
			others = append(others, x.Name)
		}
	}
	o.Xattrs = o.xattrs(others...)
	if o.Rdev != "" { // all of a device comes from its row
		o.ModTime, o.Rdev, o.Links, o.Same = o.ModTime-o.ModTime%60, halves(o.Rdev), 1, ""
	}
	return o
}

// checkStat compares what unsquashfs counts with what the tree has.
func checkStat(t *testing.T, raw string, m manifest, l listing) {
	t.Helper()
	inodes, ids, sets := 0, map[uint32]bool{}, map[string]bool{}
	for name, o := range l {
		if o.Same == "" || o.Same == name {
			inodes++
		}
		ids[o.UID], ids[o.GID] = true, true
		if x := o.xattrs(aclNames...); x != "" {
			sets[x] = true
		}
	}
	want := map[string]string{
		"Compression":                  "zstd",
		"Block size":                   "131072",
		"Number of inodes":             strconv.Itoa(inodes),
		"Number of ids":                strconv.Itoa(len(ids)),
		"Number of xattr ids":          strconv.Itoa(len(sets)),
		"Creation or last append time": created.Format("Mon Jan _2 15:04:05 2006"),

		"Found a valid SQUASHFS 4:0 superblock on " + raw + ".": "yes",
		"Filesystem is exportable via NFS":                      "yes",
		"Inodes are compressed":                                 "yes",
		"Data is compressed":                                    "yes",
		"Uids/Gids (Id table) are compressed":                   "yes",
		"Fragments are compressed":                              "yes",
		"Always-use-fragments option is not specified":          "yes",
		"Xattrs are compressed":                                 "yes",
		"Duplicates are removed":                                "yes",
	}
	got := stat(t, raw)
	var bytes int64
	if _, err := fmt.Sscanf(got["Filesystem size"], "%d bytes", &bytes); err != nil || bytes > m.ImageBytes || bytes <= m.ImageBytes-4096 {
		t.Errorf("unsquashfs -stat says size %q; want %d bytes without the padding to 4096", got["Filesystem size"], m.ImageBytes)
	}
	delete(got, "Filesystem size")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unsquashfs -stat differs (-want +got):\n%s", diff)
	}
}
