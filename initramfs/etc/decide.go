package etc

import (
	"maps"
	"slices"
	"strings"
)

// A Change is a file that the device has otherwise than the image.
type Change struct {
	Base  Print `json:"base"`  // what it replaced
	Image Print `json:"image"` // what this image has there
}

// Conflict says that the image has changed the file too.
func (c Change) Conflict() bool { return c.Base != c.Image }

// A State is what is on record.
type State struct {
	Format int `json:"format"`
	// Image is the root hash of the image that Base is of.
	Image   string            `json:"image"`
	Base    Index             `json:"base"`
	Changes map[string]Change `json:"changes"`
}

// stateFormat is the format of State that this package writes.
const stateFormat = 1

// base returns what the file that is now at path replaced.
func (s *State) base(path string) Print {
	if c, ok := s.Changes[path]; ok {
		return c.Base
	}
	return s.Base[path]
}

// A decision is what becomes of an upper directory when an image is booted.
type decision struct {
	drop []string // taken away, what is in a directory before it
	// follow are directories that were not changed themselves, whose
	// attributes are to be those of the image.
	follow  []string
	changes map[string]Change
}

// decide compares what stands in the upper directory with what it replaced and
// with what the image has.
func decide(upper Index, s *State, image Index) decision {
	d := decision{changes: make(map[string]Change)}
	needed := make(map[string]bool) // directories with something in them
	for _, path := range slices.Backward(slices.Sorted(maps.Keys(upper))) {
		print, base, now := upper[path], s.base(path), image[path]
		switch {
		case print != now && (print != base || print == ""): // who removes a file means it
			d.changes[path] = Change{Base: base, Image: now}
		case !needed[path] && !hidden(path, upper):
			d.drop = append(d.drop, path)
			continue
		case now.isDir() && print.isDir() && print != now:
			d.follow = append(d.follow, path)
		}
		for dir := parent(path); dir != ""; dir = parent(dir) {
			needed[dir] = true
		}
	}
	return d
}

// hidden says whether the image's file at path does not show, whatever becomes
// of the one in upper: a directory above it replaces the image's.
func hidden(path string, upper Index) bool {
	for dir := parent(path); dir != ""; dir = parent(dir) {
		if upper[dir].isOpaque() {
			return true
		}
	}
	return false
}

// parent returns the directory of a path, "" for one that stands in /etc.
func parent(path string) string {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)]
}
