package diff_test

import (
	"errors"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/updater/delta"
	"github.com/abupdate/abupdate/updater/diff"
)

const status = `Package: libc6
Status: install ok installed
Priority: optional
Installed-Size: 12988
Architecture: amd64
Multi-Arch: same
Version: 2.36-9+deb12u10
Description: GNU C Library: Shared libraries
 Package: not-one
 .
 Version: 0

Package: old
Status: deinstall ok config-files
Installed-Size: 1
Version: 1

Package: held
Status: hold ok installed
Architecture: all
Version: 1:2.0
`

func TestParseDpkg(t *testing.T) {
	want := []diff.Package{
		{Name: "held", Version: "1:2.0", Architecture: "all"},
		{Name: "libc6", Version: "2.36-9+deb12u10", Architecture: "amd64", Bytes: 12988 << 10},
	}
	if d := cmp.Diff(want, diff.ParseDpkg(status)); d != "" {
		t.Errorf("ParseDpkg() (-want +got):\n%s", d)
	}
	// A file of status.d has no Status.
	want = []diff.Package{{Name: "base-files", Version: "12.4", Architecture: "amd64", Bytes: 340 << 10}}
	got := diff.ParseDpkg("Package: base-files\nVersion: 12.4\nArchitecture: amd64\nInstalled-Size: 340\n")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("ParseDpkg() of a file in status.d (-want +got):\n%s", d)
	}
}

func TestParseApk(t *testing.T) {
	got := diff.ParseApk("C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nS:407278\nI:667648\nT:the musl c library\nF:lib\nR:ld-musl-x86_64.so.1\n\nP:busybox\nV:1.36.1-r29\nA:x86_64\nI:950272\n\n")
	want := []diff.Package{
		{Name: "busybox", Version: "1.36.1-r29", Architecture: "x86_64", Bytes: 950272},
		{Name: "musl", Version: "1.2.5-r0", Architecture: "x86_64", Bytes: 667648},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("ParseApk() (-want +got):\n%s", d)
	}
}

// Whatever a database says, packages have names and sizes are not negative.
func FuzzParse(f *testing.F) {
	f.Add(status)
	f.Add("P:musl\nV:1\nI:-5\n\nP:\n")
	f.Add("Package: a\nInstalled-Size: -9223372036854775808\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range append(diff.ParseDpkg(text), diff.ParseApk(text)...) {
			if p.Name == "" || p.Bytes < 0 {
				t.Errorf("%q has package %+v", text, p)
			}
		}
	})
}

func TestPackages(t *testing.T) {
	old := []diff.Package{
		{Name: "a", Version: "1.9-1", Bytes: 100}, {Name: "b", Version: "2", Bytes: 10}, {Name: "c", Version: "1", Bytes: 5},
		{Name: "m", Version: "1", Architecture: "amd64", Bytes: 1}, {Name: "same", Version: "1", Architecture: "all", Bytes: 7},
	}
	after := []diff.Package{
		{Name: "a", Version: "1.10-1", Bytes: 150}, {Name: "b", Version: "2~rc1", Bytes: 10}, {Name: "d", Version: "1", Bytes: 60},
		{Name: "m", Version: "1", Architecture: "amd64", Bytes: 1}, {Name: "m", Version: "1", Architecture: "i386", Bytes: 2},
		{Name: "same", Version: "1", Architecture: "amd64", Bytes: 7},
	}
	want := diff.PackageChanges{
		Added: 2, Removed: 1, Upgraded: 1, Downgraded: 1, Same: 2, OldBytes: 123, NewBytes: 230,
		Changes: []diff.PackageChange{
			{Name: "d", Kind: diff.Added, NewVersion: "1", NewBytes: 60},
			{Name: "a", Kind: diff.Upgraded, OldVersion: "1.9-1", NewVersion: "1.10-1", OldBytes: 100, NewBytes: 150},
			{Name: "c", Kind: diff.Removed, OldVersion: "1", OldBytes: 5},
			{Name: "m:i386", Kind: diff.Added, NewVersion: "1", NewBytes: 2},
			{Name: "b", Kind: diff.Downgraded, OldVersion: "2", NewVersion: "2~rc1", OldBytes: 10, NewBytes: 10},
		},
	}
	if d := cmp.Diff(want, diff.Packages(old, after)); d != "" {
		t.Errorf("Packages() (-want +got):\n%s", d)
	}
}

// Up or down as dpkg has it.
func TestVersionsAsDpkg(t *testing.T) {
	versions := []string{
		"0", "1", "1.0", "1.0-1", "1.0-1+deb12u1", "1.0-1+deb12u10", "1.0-2", "1.0~rc1-1", "1:0.5", "2.36-9", "2.36-10",
		"1.0-1~bpo12+1", "1.0+dfsg-1", "1.0a", "6.1.0-56", "6.1.192-2", "0:1.0",
	}
	for _, a := range versions {
		for _, b := range versions {
			got := diff.Packages([]diff.Package{{Name: "p", Version: a}}, []diff.Package{{Name: "p", Version: b}})
			want := map[bool]int{true: 1}[dpkg(t, b, "lt", a)]
			if got.Downgraded != want {
				t.Errorf("%s to %s: %d downgraded; want %d", a, b, got.Downgraded, want)
			}
		}
	}
}

func dpkg(t *testing.T, a, op, b string) bool {
	t.Helper()
	err := exec.Command("dpkg", "--compare-versions", a, op, b).Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("dpkg is missing: install the Debian package dpkg: %v", err)
	}
	return err == nil
}

func TestFields(t *testing.T) {
	a := &manifest.Manifest{Version: "1", Architecture: "amd64", Kernel: "6.1.0-56", RootHash: "aa"}
	b := &manifest.Manifest{Version: "2", Architecture: "amd64", Kernel: "6.1.0-57", RootHash: "bb"}
	want := []diff.Detail{{Name: "version", Old: "1", New: "2"}, {Name: "kernel", Old: "6.1.0-56", New: "6.1.0-57"}}
	if d := cmp.Diff(want, diff.Fields(a, b)); d != "" {
		t.Errorf("Fields() (-want +got):\n%s", d)
	}
	got := diff.Labels(map[string]string{"a": "1", "b": "2"}, map[string]string{"b": "3", "c": "4", "d": ""})
	want = []diff.Detail{{Name: "a", Old: "1"}, {Name: "b", Old: "2", New: "3"}, {Name: "c", New: "4"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Labels() (-want +got):\n%s", d)
	}
}

func TestFetchOf(t *testing.T) {
	p := &delta.Plan{
		Blocks:  1000,
		Missing: []delta.Range{{First: 0, End: 10}, {First: 12, End: 20}, {First: 500, End: 510}},
		Copies:  []delta.Copy{{To: delta.Range{First: 10, End: 12}}, {Source: delta.Self, To: delta.Range{First: 20, End: 30}}},
	}
	want := diff.Fetch{
		ImageBytes: 1000 * 4096, MissingBlocks: 28, MissingBytes: 28 * 4096, Ranges: 2, GapBytes: 8192, WasteBytes: 2 * 4096,
		MetadataBytes: 4096, TotalBytes: 31 * 4096, Percent: 3.1, LocalBlocks: 2, RepeatedBlocks: 10,
	}
	if d := cmp.Diff(want, diff.FetchOf(p, 8192, 0, 4096)); d != "" {
		t.Errorf("FetchOf() (-want +got):\n%s", d)
	}
}
