package conformance_test

import (
	"fmt"
	"reflect"
	"slices"
)

// An exception is a difference that is right, by name. It covers one field of
// one object, says what both sides must be, and is granted to images by name.
type exception struct {
	name  string
	holds func(field string, umoci, ours object) bool
}

// noACLs is the one of the "Differences from umoci" in the documentation of
// package oci that real images meet.
const noACLs = "squashfs holds no ACLs"

var exceptions = []exception{
	{noACLs, func(field string, umoci, ours object) bool {
		return field == "Xattrs" && umoci.Xattrs != ours.Xattrs && umoci.xattrs(aclNames...) == ours.Xattrs
	}},
}

var aclNames = []string{"system.posix_acl_access", "system.posix_acl_default"}

// A comparison finds what differs between listings, and counts exceptions.
type comparison struct {
	grants  []string       // names of exceptions
	granted map[string]int // how many times
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
		rule := slices.IndexFunc(exceptions, func(e exception) bool {
			return slices.Contains(c.grants, e.name) && e.holds(field, want, got)
		})
		if rule >= 0 {
			c.granted[exceptions[rule].name]++
			continue
		}
		out = append(out, fmt.Sprintf("%q: %s = %v; want %v", name, field, g.Field(i), w.Field(i)))
	}
	return out
}
