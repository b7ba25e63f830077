package conformance_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A difference in any field is found, and so is a path that only one side has.
func TestDifferences(t *testing.T) {
	o := object{Type: "-", Mode: 0o644, Links: 1}
	for i := range reflect.TypeFor[object]().NumField() {
		other := o
		switch f := reflect.ValueOf(&other).Elem().Field(i); f.Kind() {
		case reflect.String:
			f.SetString("other")
		case reflect.Uint32:
			f.SetUint(7)
		default:
			f.SetInt(7)
		}
		c := &comparison{grants: []string{noACLs}, granted: map[string]int{}}
		got := c.differences(listing{"a": o}, listing{"a": other})
		if field := reflect.TypeFor[object]().Field(i).Name; len(got) != 1 || !strings.Contains(got[0], field) {
			t.Errorf("another %s: differences %q; want one about it", field, got)
		}
	}
	c := &comparison{}
	if got := c.differences(listing{"a": o, "b": o}, listing{"a": o, "c": o}); len(got) != 2 {
		t.Errorf("b is missing and c is new: differences %q; want two", got)
	}
}

// An exception is granted for what it is about, and to whom it is granted.
func TestExceptions(t *testing.T) {
	const acl = `[{"Name":"system.posix_acl_access","Value":"AA=="}]`
	dir := func(mtime int64, xattrs string) object { return object{Type: "d", ModTime: mtime, Xattrs: xattrs} }
	tests := []struct {
		name        string
		grants      []string
		umoci, ours object
		want        int
	}{
		{"an ACL", []string{noACLs}, dir(5, acl), dir(5, ""), 0},
		{"an ACL, not granted", nil, dir(5, acl), dir(5, ""), 1},
		{"an ACL of ours", []string{noACLs}, dir(5, ""), dir(5, acl), 1},
		{"another attribute", []string{noACLs}, dir(5, strings.ReplaceAll(acl, "system.posix_acl_access", "user.x")), dir(5, ""), 1},
		{"an ACL and a time", []string{noACLs}, dir(6, acl), dir(5, ""), 1},
	}
	for _, tt := range tests {
		c := &comparison{grants: tt.grants, granted: map[string]int{}}
		if got := c.differences(listing{"d": tt.umoci}, listing{"d": tt.ours}); len(got) != tt.want {
			t.Errorf("%s: differences %q; want %d", tt.name, got, tt.want)
		}
	}
}

func TestList(t *testing.T) {
	root := t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(root, "a\xff"), []byte("abc"), 0o600), os.Link(filepath.Join(root, "a\xff"), filepath.Join(root, "b")),
		os.Mkdir(filepath.Join(root, "d"), 0o700), os.Symlink("a", filepath.Join(root, "d/l")), os.WriteFile(filepath.Join(root, "locked"), nil, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := list(root)
	if err != nil {
		t.Fatal(err)
	}
	l.countDirs()
	got := map[string]object{}
	for name, o := range l {
		got[name] = object{Type: o.Type, Mode: o.Mode, Size: o.Size, Target: o.Target, Links: o.Links, Same: o.Same, SHA256: o.SHA256}
	}
	const abc, empty = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	file := object{Type: "-", Mode: 0o600, Size: 3, Links: 2, Same: "a\xff", SHA256: abc}
	want := map[string]object{
		".": {Type: "d", Mode: got["."].Mode, Links: 3}, "a\xff": file, "b": file, "d": {Type: "d", Mode: 0o700, Links: 2},
		"d/l": {Type: "l", Mode: 0o777, Target: "a", Links: 1}, "locked": {Type: "-", Links: 1, SHA256: empty},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("list() mismatch (-want +got):\n%s", diff)
	}
}

func TestHalves(t *testing.T) {
	for rdev, want := range map[string]string{"": "", "1:3": "1:3", "259:128": "259:128", "8:65535": "1044488:255", "4095:1048575": "-1:255"} {
		if got := halves(rdev); got != want {
			t.Errorf("halves(%q) = %q; want %q", rdev, got, want)
		}
	}
}
