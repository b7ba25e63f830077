package conformance_test

import (
	"fmt"
	"path"
	"reflect"
	"slices"
)

// An exception is a difference that is right, by name. It never covers more
// than one field of one object, and says what both sides must be.
type exception struct {
	name  string
	holds func(f *facts, ref reference, name, field string, umoci, ours object) bool
}

// exceptions are those rows of "Differences from umoci" in the documentation
// of package oci that real images meet.
var exceptions = []exception{
	{"umoci gives a directory the time of day when it removes from it", func(f *facts, ref reference, name, field string, umoci, ours object) bool {
		h := f.headers[name]
		return field == "ModTime" && ours.Type == "d" && f.whiteouts[name] && h != nil &&
			umoci.ModTime >= ref.Started && ours.ModTime == h.ModTime.Unix()
	}},
	{"umoci gives an implicit directory the time of day", func(f *facts, ref reference, name, field string, umoci, ours object) bool {
		return field == "ModTime" && ours.Type == "d" && f.headers[name] == nil && umoci.ModTime >= ref.Started && ours.ModTime == 0
	}},
	{"umoci gives a directory the time of day when it makes an implicit one in it", func(f *facts, ref reference, name, field string, umoci, ours object) bool {
		h := f.headers[name]
		return field == "ModTime" && ours.Type == "d" && f.implicitIn(name) && h != nil &&
			umoci.ModTime >= ref.Started && ours.ModTime == h.ModTime.Unix()
	}},
	{"squashfs holds no ACLs", func(_ *facts, _ reference, _, field string, umoci, ours object) bool {
		return field == "Xattrs" && umoci.xattrs("system.posix_acl_access", "system.posix_acl_default") == ours.Xattrs
	}},
}

// implicitIn says whether a directory has one in it that no header describes.
func (f *facts) implicitIn(dir string) bool {
	for name := range f.headers {
		for up := path.Dir(name); up != "."; up = path.Dir(up) {
			if path.Dir(up) == dir && f.headers[up] == nil {
				return true
			}
		}
	}
	return false
}

// A comparison finds what differs between listings, and counts exceptions.
type comparison struct {
	facts   *facts
	ref     reference
	allowed map[string]int
}

// differences lists what differs, one line each.
func (c *comparison) differences(want, got listing) []string {
	var out []string
	for _, name := range want.paths() {
		w := want[name]
		g, ok := got[name]
		if !ok {
			out = append(out, fmt.Sprintf("%q is missing; want %+v", name, w))
			continue
		}
		out = append(out, c.fields(name, w, g)...)
	}
	for _, name := range got.paths() {
		if _, ok := want[name]; !ok {
			out = append(out, fmt.Sprintf("%q is there: %+v; want nothing", name, got[name]))
		}
	}
	return out
}

func (c *comparison) fields(name string, want, got object) []string {
	if want == got {
		return nil
	}
	var out []string
	w, g := reflect.ValueOf(want), reflect.ValueOf(got)
	for i := range w.NumField() {
		field := w.Type().Field(i).Name
		if w.Field(i).Equal(g.Field(i)) {
			continue
		}
		rule := slices.IndexFunc(exceptions, func(e exception) bool { return e.holds(c.facts, c.ref, name, field, want, got) })
		if rule >= 0 {
			c.allowed[exceptions[rule].name]++
			continue
		}
		out = append(out, fmt.Sprintf("%q: %s = %v; want %v", name, field, g.Field(i), w.Field(i)))
	}
	return out
}
