package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// writeRoot writes a tar that has one of everything.
func writeRoot(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tw := tar.NewWriter(f)
	for _, e := range []struct {
		h    tar.Header
		data string
	}{
		{tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, ""},
		{tar.Header{Name: "./bin/", Typeflag: tar.TypeDir, Mode: 0o755}, ""},
		{tar.Header{Name: "./bin/su", Mode: 0o4755}, "su\x00"},
		{tar.Header{Name: "./bin/link", Typeflag: tar.TypeLink, Linkname: "./bin/su"}, ""},
		{tar.Header{Name: "./bin/sym", Typeflag: tar.TypeSymlink, Linkname: "su", Mode: 0o777}, ""},
		{tar.Header{Name: "./null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3}, ""},
		{tar.Header{Name: "./log/", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{
			"SCHILY.xattr.system.posix_acl_access": "x", "SCHILY.xattr.user.a": "y"}}, ""},
		{tar.Header{Name: "./var/lib/dpkg/status", Mode: 0o644}, "Package: a\nStatus: x\n\nPackage: b\n"},
		{tar.Header{Name: "./usr/lib/os-release", Mode: 0o644}, "NAME=x\nPRETTY_NAME=\"Debian 99\"\n"},
	} {
		if e.h.Typeflag == 0 {
			e.h.Typeflag, e.h.Size = tar.TypeReg, int64(len(e.data))
		}
		if err := tw.WriteHeader(&e.h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
}

func testFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir()}
	writeRoot(t, f.tar())
	if err := f.count(); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCount(t *testing.T) {
	f := testFixture(t)
	if f.Packages != 2 || f.Entries != 9 || f.Suite != "Debian 99" || f.Bytes == 0 {
		t.Errorf("count = %+v; want 2 packages, 9 entries, Debian 99", f)
	}
}

func TestWriteLayout(t *testing.T) {
	f := testFixture(t)
	r, err := os.Open(f.tar())
	if err != nil {
		t.Fatal(err)
	}
	n, err := writeLayout(f.layout(), r, gzip.DefaultCompression)
	if err != nil {
		t.Fatal(err)
	}
	ix, err := layout.ImageIndexFromPath(f.layout())
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(ix); err != nil {
		t.Error(err)
	}
	man, err := ix.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if got := man.Manifests[0].Annotations["org.opencontainers.image.ref.name"]; len(man.Manifests) != 1 || got != tag {
		t.Errorf("the layout has %d images, the first with the tag %q; want 1, %s", len(man.Manifests), got, tag)
	}
	b := &big{Layer: n, dir: f.dir}
	if err := os.Rename(f.layout(), b.layout()); err != nil {
		t.Fatal(err)
	}
	if blob, err := b.blob(); err != nil || filepath.Base(filepath.Dir(blob)) != "sha256" {
		t.Errorf("blob = %s, %v", blob, err)
	}
}

// The second time the image is there.
func TestOpenBig(t *testing.T) {
	f := testFixture(t)
	var log bytes.Buffer
	b, err := openBig(f, &log)
	if err != nil {
		t.Fatal(err)
	}
	if b.Entries != copies*f.Entries || b.Bytes < copies*512*int64(f.Entries) {
		t.Errorf("openBig = %+v; want %d times the root", b, copies)
	}
	said := log.Len()
	again, err := openBig(f, &log)
	if err != nil {
		t.Fatal(err)
	}
	if log.Len() != said || again.Layer != b.Layer || again.Bytes != b.Bytes {
		t.Errorf("the second time openBig = %+v and said %q; want the same, silently", again, log.Bytes()[said:])
	}
	other := *f
	other.Entries++
	if _, err := openBig(&other, &log); err != nil || log.Len() == said {
		t.Errorf("openBig() for another root = %v, and made nothing", err)
	}
}

func TestWriteBig(t *testing.T) {
	f := testFixture(t)
	var out bytes.Buffer
	if err := writeBig(&out, f.tar()); err != nil {
		t.Fatal(err)
	}
	type entry struct{ Name, Link, Data string }
	var got []entry
	for tr := tar.NewReader(&out); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, entry{h.Name, h.Linkname, string(data)})
	}
	if len(got) != copies*f.Entries {
		t.Fatalf("%d entries; want %d", len(got), copies*f.Entries)
	}
	want := []entry{{"srv/2/", "", ""}, {"srv/2/bin/", "", ""}, {"srv/2/bin/su", "", "qw\x02"}, {"srv/2/bin/link", "srv/2/bin/su", ""}, {"srv/2/bin/sym", "su", ""}}
	if d := cmp.Diff(want, got[2*f.Entries:][:5]); d != "" {
		t.Errorf("third root differs (-want +got):\n%s", d)
	}
	if d := cmp.Diff(entry{"./bin/su", "", "su\x00"}, got[2]); d != "" {
		t.Errorf("the first root is not as it was (-want +got):\n%s", d)
	}
}

func TestPick(t *testing.T) {
	files := []sized{{"empty", 0}, {"one", 4096}, {"none", 0}, {"large", 4096*99 + 1}}
	got := pick(files, 4000)
	if d := cmp.Diff(got, pick(files, 4000), cmp.AllowUnexported(place{})); d != "" {
		t.Errorf("two lists differ:\n%s", d)
	}
	seen := map[place]bool{}
	for _, p := range got {
		seen[p] = true
		i := slices.IndexFunc(files, func(f sized) bool { return f.path == p.path })
		if p.off%4096 != 0 || p.off >= files[i].size {
			t.Errorf("place %v is not in a file of %d bytes", p, files[i].size)
		}
	}
	if len(seen) != 101 {
		t.Errorf("%d places of 101", len(seen))
	}
	if got := pick(files[:1], 3); len(got) != 0 {
		t.Errorf("pick() of an empty file = %v", got)
	}
}

func TestPlaceParse(t *testing.T) {
	want := place{8192, "usr/a b"}
	var got place
	if err := got.parse(want.String()); err != nil || got != want {
		t.Errorf("parse(%q) = %v, %v", want, got, err)
	}
	for _, line := range []string{"", "12\n", "x usr\n"} {
		if err := got.parse(line); err == nil {
			t.Errorf("parse(%q) gave no error", line)
		}
	}
}

func TestRandreadMode(t *testing.T) {
	f := testFixture(t)
	list := filepath.Join(f.dir, "places")
	if err := writePlaces(list, f.tar(), 20); err != nil {
		t.Fatal(err)
	}
	b := &bench{fixture: f, work: f.dir, abupdate: "/bin/abupdate"}
	if _, err := b.self(t.Context(), "randread", "", f.dir, list); err == nil {
		t.Error("reading files that are not there gives no error")
	}
	for _, name := range []string{"bin/su", "var/lib/dpkg/status", "usr/lib/os-release"} {
		file := filepath.Join(f.dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("text"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.self(t.Context(), "randread", "", f.dir, list); err != nil {
		t.Error(err)
	}
}

func TestCPUInfo(t *testing.T) {
	model, flags := cpuInfo("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu sha_ni\n\nprocessor\t: 1\nmodel name\t: Other\n")
	if model != "Some CPU @ 2 GHz" || !slices.Contains(flags, "sha_ni") {
		t.Errorf("cpuInfo = %q, %q", model, flags)
	}
	if model, flags := cpuInfo(""); model == "" || flags != nil {
		t.Errorf("cpuInfo of nothing = %q, %q", model, flags)
	}
}

func TestSquashfsConfig(t *testing.T) {
	config := "CONFIG_SQUASHFS=y\n# CONFIG_SQUASHFS_FILE_CACHE is not set\nCONFIG_SQUASHFS_FILE_DIRECT=y\n" +
		"CONFIG_SQUASHFS_COMPILE_DECOMP_MULTI=y\nCONFIG_SQUASHFS_DECOMP_MULTI=y\nCONFIG_SQUASHFS_FRAGMENT_CACHE_SIZE=3\n"
	if got, want := squashfsConfig(config), "FILE_DIRECT DECOMP_MULTI FRAGMENT_CACHE_SIZE=3"; got != want {
		t.Errorf("squashfsConfig = %q; want %q", got, want)
	}
	if got := squashfsConfig(""); got != "unknown" {
		t.Errorf("squashfsConfig of nothing = %q", got)
	}
}

func TestPrettyName(t *testing.T) {
	for text, want := range map[string]string{"NAME=x\nPRETTY_NAME=\"A b\"\n": "A b", "": "unknown"} {
		if got := prettyName(text); got != want {
			t.Errorf("prettyName(%q) = %q; want %q", text, got, want)
		}
	}
}
