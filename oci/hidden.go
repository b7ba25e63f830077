package oci

import "github.com/abupdate/abupdate/internal/fstree"

// A hiddenSet holds what upper layers hide of the layers below them, as
// hashes: 8 bytes for each name instead of the name. It only steers which
// contents are passed over; the tree decides. Two names with one hash, or a
// symlink on the way, cost a second read of a layer and change no result, so
// the hash is fixed: the same image is always read in the same order.
type hiddenSet struct {
	keys map[uint64]struct{}
	mask uint64
}

func newHiddenSet(mask uint64) *hiddenSet { return &hiddenSet{map[uint64]struct{}{}, mask} }

// FNV-1a of a path is the key of the name itself; with a slash behind it, the
// key of everything below that name. Nothing but the key of everything below
// the root has no bytes.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func hashByte(h uint64, c byte) uint64 { return (h ^ uint64(c)) * fnvPrime }

func hashPath(path string) uint64 {
	h := uint64(fnvOffset)
	for i := range len(path) {
		h = hashByte(h, path[i])
	}
	return h
}

// add notes what an entry hides. A directory over a directory hides nothing
// below it.
func (s *hiddenSet) add(h *header) {
	name := hashPath(h.Path)
	below := hashByte(name, '/')
	if h.Path == "" { // nothing hides the root itself
		below = name
	} else if h.kind != opaque {
		s.keys[name&s.mask] = struct{}{}
	}
	if h.kind != object || h.Type != fstree.Directory {
		s.keys[below&s.mask] = struct{}{}
	}
}

func (s *hiddenSet) has(hash uint64) bool {
	_, ok := s.keys[hash&s.mask]
	return ok
}

// covers reports whether upper layers hide the file at path.
func (s *hiddenSet) covers(path string) bool {
	if len(s.keys) == 0 {
		return false
	}
	h := uint64(fnvOffset)
	if s.has(h) { // an opaque root
		return true
	}
	for i := range len(path) {
		h = hashByte(h, path[i])
		if path[i] == '/' && s.has(h) {
			return true
		}
	}
	return s.has(h)
}
