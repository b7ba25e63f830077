package updater_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/diff"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// Whatever a system comes as, what is in it is listed alike.
func TestLookLists(t *testing.T) {
	dir, work := twoVersions(t), t.TempDir()
	updates, raw := filepath.Join(work, "updates"), filepath.Join(work, "1.raw")
	build(t, "oci:"+dir+":v1", updates, raw)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	var first *updater.Inspected
	for _, name := range []string{"oci:" + dir + ":v1", "oci:" + updates + ":1.0", raw, "a"} {
		in, err := updater.Look(t.Context(), name, updater.LookOptions{Disk: disk, Files: true, Packages: true})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = in
		}
		if !slices.EqualFunc(first.FileList, in.FileList, func(a, b diff.Listed) bool {
			return a.Path == b.Path && a.Mode == b.Mode && a.Bytes == b.Bytes && a.Target == b.Target
		}) {
			t.Errorf("%s has other files than the image:\n%v\n%v", name, first.FileList, in.FileList)
		}
		if in.PackageDatabase != "/var/lib/dpkg/status" || !slices.Equal(in.Packages, first.Packages) || len(in.Packages) != 1 {
			t.Errorf("%s has packages %v by %q", name, in.Packages, in.PackageDatabase)
		}
	}
	has := func(path, target string) bool {
		return slices.ContainsFunc(first.FileList, func(l diff.Listed) bool { return l.Path == path && l.Target == target })
	}
	if !has("/", "") || !has("/etc/link", "a") || !has("/usr/bin/gone", "") {
		t.Errorf("files are missing in %v", first.FileList)
	}
}

func TestLookPackages(t *testing.T) {
	const status = "Package: %\nVersion: 1\nArchitecture: all\nInstalled-Size: 1\n"
	one, two := strings.ReplaceAll(status, "%", "one"), strings.ReplaceAll(status, "%", "two")
	dir := ut.Layout(t, map[string]ut.Image{
		"none":       {},
		"distroless": {Files: map[string]string{"var/lib/dpkg/status.d/one": one, "var/lib/dpkg/status.d/one.md5sums": "x", "var/lib/dpkg/status.d/two": two}},
		"apk":        {Files: map[string]string{"lib/apk/db/installed": "P:one\nV:1\n\nP:two\nV:2\n"}},
		"newapk":     {Files: map[string]string{"usr/lib/apk/db/installed": "P:one\nV:1\n"}},
		"empty":      {Files: map[string]string{"var/lib/dpkg/status": ""}},
	})
	for _, tt := range []struct {
		tag, database string
		packages      int
	}{
		{"none", "", 0}, {"distroless", "/var/lib/dpkg/status.d", 2}, {"apk", "/lib/apk/db/installed", 2},
		{"newapk", "/usr/lib/apk/db/installed", 1}, {"empty", "", 0},
	} {
		in, err := updater.Look(t.Context(), "oci:"+dir+":"+tt.tag, updater.LookOptions{Packages: true})
		if err != nil {
			t.Fatal(err)
		}
		if in.PackageDatabase != tt.database || len(in.Packages) != tt.packages {
			t.Errorf("%s: packages %v by %q; want %d by %q", tt.tag, in.Packages, in.PackageDatabase, tt.packages, tt.database)
		}
	}
}

// A database is held in memory: files that are small only where they are
// stored are not read.
func TestLookLargePackages(t *testing.T) {
	part := strings.Repeat("\x00", 22<<20)
	dir, updates := ut.Layout(t, map[string]ut.Image{"large": {Version: "1.0", Files: map[string]string{
		"var/lib/dpkg/status.d/1": part, "var/lib/dpkg/status.d/2": part, "var/lib/dpkg/status.d/3": part,
	}}}), filepath.Join(t.TempDir(), "updates")
	build(t, "oci:"+dir+":large", updates, "")
	for _, name := range []string{"oci:" + dir + ":large", "oci:" + updates + ":1.0"} {
		_, err := updater.Look(t.Context(), name, updater.LookOptions{Packages: true})
		if fault.KindOf(err) != fault.Refused || !strings.Contains(err.Error(), "/var/lib/dpkg/status.d of ") {
			t.Errorf("packages of %s: %v; want a refusal", name, err)
		}
	}
}

// Everything that the manifest of an update says is told.
func TestInspectUpdate(t *testing.T) {
	dir, updates := twoVersions(t), filepath.Join(t.TempDir(), "updates")
	built := build(t, "oci:"+dir+":v1", updates, "")
	in, err := updater.Look(t.Context(), "oci:"+updates+":1.0", updater.LookOptions{})
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]updater.Blob{}
	for _, b := range in.Blobs {
		roles[b.Role] = b
	}
	if in.Kind != "update" || in.Digest != built.Digest || !cmp.Equal(in.Manifest, built.Manifest) {
		t.Errorf("Look() = %+v; want what was built: %+v", in, built)
	}
	if roles["squashfs"].Bytes != built.ImageBytes || roles["hash tree"].Bytes != built.TreeBytes || roles["config"].MediaType != manifest.ConfigMediaType {
		t.Errorf("blobs are %+v", in.Blobs)
	}
	if in.Annotations["org.opencontainers.image.version"] != "1.0" || in.Signed || in.Subject == nil || in.Subject.Digest != built.SourceDigest {
		t.Errorf("annotations %v, signed %v, subject %v", in.Annotations, in.Signed, in.Subject)
	}
}

// The image that an update was made from, as the update names it.
func TestInspectSubject(t *testing.T) {
	dir, work := twoVersions(t), t.TempDir()
	updates := filepath.Join(work, "updates")
	built := build(t, "oci:"+dir+":v1", updates, "")
	in, err := updater.Look(t.Context(), "oci:"+updates+":1.0", updater.LookOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := built.Manifest.Encode()
	if err != nil {
		t.Fatal(err)
	}
	u := oci.Update{Config: config, Subject: &v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: 7, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("ab", 32)}}}
	for _, b := range in.Blobs {
		file := oci.UpdateFile{Path: filepath.Join(updates, "blobs", "sha256", strings.TrimPrefix(b.Digest, "sha256:"))}
		switch b.Role {
		case "squashfs":
			u.Squashfs = file
		case "hash tree":
			u.Tree = file
		}
	}
	if _, err := oci.WriteUpdate(t.Context(), filepath.Join(work, "again"), "1", u); err != nil {
		t.Fatal(err)
	}
	in, err = updater.Look(t.Context(), "oci:"+filepath.Join(work, "again")+":1", updater.LookOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := updater.Blob{Role: "subject", MediaType: string(types.OCIManifestSchema1), Digest: "sha256:" + strings.Repeat("ab", 32), Bytes: 7}
	if in.Subject == nil || *in.Subject != want {
		t.Errorf("subject is %+v; want %+v", in.Subject, want)
	}
}

// The updates beside an image are told.
func TestInspectReferrers(t *testing.T) {
	dir := besideImage(t)
	built := build(t, "oci:"+dir+":v2", dir, "")
	in, err := updater.Look(t.Context(), "oci:"+dir+":v2", updater.LookOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(in.Referrers) != 1 || in.Referrers[0].Digest != built.Digest || in.Referrers[0].ArtifactType != manifest.ArtifactType {
		t.Errorf("referrers are %+v; want %s", in.Referrers, built.Digest)
	}
}
