package fstree_test

import (
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/google/go-cmp/cmp"
)

func TestTypeString(t *testing.T) {
	for typ := fstree.Regular; typ <= fstree.Hardlink; typ++ {
		if s := typ.String(); s == "" || s[:4] == "type" {
			t.Errorf("Type(%d).String() = %q; want a word", typ, s)
		}
	}
	if got, want := fstree.Type(99).String(), "type 99"; got != want {
		t.Errorf("Type(99).String() = %q; want %q", got, want)
	}
}

func TestSortXattrs(t *testing.T) {
	got := []fstree.Xattr{{Name: "user.b"}, {Name: "security.capability"}, {Name: "user.a"}}
	fstree.SortXattrs(got)
	want := []fstree.Xattr{{Name: "security.capability"}, {Name: "user.a"}, {Name: "user.b"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("SortXattrs mismatch (-want +got):\n%s", diff)
	}
}
