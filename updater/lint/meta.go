package lint

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// hiddenDirs are covered by other file systems before init starts.
var hiddenDirs = []string{"dev", "proc", "sys", "run"}

// A metaProbe looks at single entries.
type metaProbe struct{ hidden map[string]int }

func (p *metaProbe) entry(t *tree, e fstree.Entry) {
	if e.Type == fstree.Hardlink {
		return // its first name says it all
	}
	if e.ModTime < 0 || e.ModTime > math.MaxUint32 {
		t.foundf("time-range", e.Path, "%d seconds since 1970", e.ModTime)
	}
	const setID, worldWritable = 0o6000, 0o002
	if e.Type == fstree.Regular && e.Mode&setID != 0 && e.Mode&worldWritable != 0 {
		t.foundf("setuid-writable", e.Path, "mode %04o", e.Mode)
	}
	if e.Type == fstree.Directory {
		return
	}
	if dir := firstNames(e.Path, 1); slices.Contains(hiddenDirs, dir) {
		if p.hidden == nil {
			p.hidden = map[string]int{}
		}
		p.hidden[dir]++
		return
	}
	if e.Type == fstree.CharDevice && e.Major == 0 && e.Minor == 0 {
		t.found("overlay-whiteout", e.Path, "")
	}
}

func (p *metaProbe) want(*tree) {}

func (p *metaProbe) check(t *tree) {
	for _, dir := range slices.Sorted(maps.Keys(p.hidden)) {
		t.foundf("hidden-content", dir, "%d entries", p.hidden[dir])
	}
	for _, name := range slices.Sorted(maps.Keys(t.opt.Dropped)) {
		rule := "dropped-xattr"
		if strings.Contains(strings.ToLower(name), "acl") {
			rule = "dropped-acl"
		}
		t.foundf(rule, "", "%s of %d files", name, t.opt.Dropped[name])
	}
}
