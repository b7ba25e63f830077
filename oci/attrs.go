package oci

import (
	"encoding/binary"

	"github.com/abupdate/abupdate/internal/fstree"
)

// An attrTable holds every set of extended attributes, and every list of names
// that were left out, once for all layers.
type attrTable struct {
	sets    []string // encoded
	numbers map[string]uint64
	key     []byte
	bytes   int64 // of all sets
}

func (t *attrTable) addXattrs(set []fstree.Xattr) uint64 {
	t.key = t.key[:0]
	for _, x := range set {
		t.key = appendBytes(appendBytes(t.key, x.Name), x.Value)
	}
	return t.add()
}

func (t *attrTable) addNames(names []string) uint64 {
	t.key = t.key[:0]
	for _, name := range names {
		t.key = appendBytes(t.key, name)
	}
	return t.add()
}

// add finds the number of the set in key, or gives it the next.
func (t *attrTable) add() uint64 {
	n, ok := t.numbers[string(t.key)]
	if !ok {
		n = uint64(len(t.sets))
		if t.numbers == nil {
			t.numbers = map[string]uint64{}
		}
		set := string(t.key) // one copy for both
		t.numbers[set] = n
		t.sets = append(t.sets, set)
		t.bytes += int64(len(set))
	}
	return n
}

func (t *attrTable) xattrs(n uint64) []fstree.Xattr {
	var set []fstree.Xattr
	names := t.names(n)
	for i := 0; i+1 < len(names); i += 2 {
		set = append(set, fstree.Xattr{Name: names[i], Value: []byte(names[i+1])})
	}
	return set
}

func (t *attrTable) names(n uint64) []string {
	if n >= uint64(len(t.sets)) {
		return nil
	}
	var out []string
	for rest := t.sets[n]; rest != ""; {
		size, width := binary.Uvarint([]byte(rest[:min(len(rest), binary.MaxVarintLen64)]))
		if width <= 0 || size > uint64(len(rest)-width) {
			return nil
		}
		rest = rest[width:]
		out = append(out, rest[:size])
		rest = rest[size:]
	}
	return out
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}
