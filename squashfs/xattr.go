package squashfs

import (
	"fmt"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// xattrPrefixes are the name spaces of the format, by their number.
var xattrPrefixes = [...]string{"user.", "trusted.", "security."}

const (
	xattrOutOfLine = 0x100
	// inlineValue is the longest value that stands in the list itself. Longer
	// ones stand before the lists, once each, so that the kernel reads past
	// them only when it is asked for them.
	inlineValue   = 64
	maxXattrValue = 64 << 10 // XATTR_SIZE_MAX
)

// xattrs are the tree's sets of attributes that are in use.
type xattrs struct {
	sets  []uint32          // as the tree numbers them
	place map[uint32]uint32 // the inverse
}

// add returns the place of a set of the tree, none for the empty one.
func (t *xattrs) add(tree *fstree.Tree, set uint32) (uint32, error) {
	if set == fstree.NoXattrs {
		return none, nil
	}
	if i, ok := t.place[set]; ok {
		return i, nil
	}
	for _, a := range tree.Xattrs(set) {
		if err := checkXattr(a); err != nil {
			return none, err
		}
	}
	if t.place == nil {
		t.place = make(map[uint32]uint32)
	}
	i := uint32(len(t.sets))
	t.sets = append(t.sets, set)
	t.place[set] = i
	return i, nil
}

func checkXattr(a fstree.Xattr) error {
	_, name, ok := splitXattr(a.Name)
	switch {
	case !ok:
		return fmt.Errorf("attribute %q: a squashfs holds only user, trusted and security attributes", a.Name)
	case name == "" || len(a.Name) > maxName || strings.IndexByte(name, 0) >= 0:
		return fmt.Errorf("attribute %q: not a name of 1 to %d bytes", a.Name, maxName)
	case len(a.Value) > maxXattrValue:
		return fmt.Errorf("attribute %q: value of %d bytes is longer than %d", a.Name, len(a.Value), maxXattrValue)
	}
	return nil
}

func splitXattr(full string) (prefix uint16, name string, ok bool) {
	for i, p := range xattrPrefixes {
		if name, ok := strings.CutPrefix(full, p); ok {
			return uint16(i), name, true
		}
	}
	return 0, "", false
}

// write writes the sets and the table of them; it returns the position for the
// superblock, ^0 without any.
//
//	values and sets in metadata blocks | table of sets in metadata blocks |
//	{position of the former uint64, number of sets uint32, 0 uint32} | positions of the latter's blocks
func (t *xattrs) write(tree *fstree.Tree, out *output, c compressor) (int64, error) {
	if len(t.sets) == 0 {
		return -1, nil
	}
	base := out.pos
	m := newMetadataWriter(out, c)
	far := make(map[string]uint64) // long values written so far
	var table []byte
	for _, number := range t.sets {
		set := tree.Xattrs(number)
		for _, a := range set {
			if err := writeFarValue(m, a.Value, far); err != nil {
				return 0, err
			}
		}
		block, offset := m.ref()
		size := 0
		for _, a := range set {
			if err := writeXattr(m, a, far); err != nil {
				return 0, err
			}
			size += len(a.Name) + 1 + len(a.Value)
		}
		table = le.AppendUint64(table, metadataRef(block, offset))
		table = le.AppendUint32(table, uint32(len(set)))
		table = le.AppendUint32(table, uint32(size))
	}
	if err := m.flush(); err != nil {
		return 0, err
	}
	header := le.AppendUint64(nil, uint64(base))
	header = le.AppendUint32(header, uint32(len(t.sets)))
	header = le.AppendUint32(header, 0)
	return writeLookup(out, c, table, header)
}

func writeFarValue(m *metadataWriter, value []byte, far map[string]uint64) error {
	if _, ok := far[string(value)]; ok || len(value) <= inlineValue {
		return nil
	}
	block, offset := m.ref()
	far[string(value)] = metadataRef(block, offset)
	return m.write(append(le.AppendUint32(nil, uint32(len(value))), value...))
}

// writeXattr writes {prefix and flag uint16, name length uint16, name, value
// length uint32, value or where it is}.
func writeXattr(m *metadataWriter, a fstree.Xattr, far map[string]uint64) error {
	prefix, name, _ := splitXattr(a.Name)
	value := a.Value
	if len(value) > inlineValue {
		prefix |= xattrOutOfLine
		value = le.AppendUint64(nil, far[string(a.Value)])
	}
	b := le.AppendUint16(nil, prefix)
	b = le.AppendUint16(b, uint16(len(name)))
	b = append(b, name...)
	b = le.AppendUint32(b, uint32(len(value)))
	return m.write(append(b, value...))
}

// metadataRef joins a position in a table as the format does.
func metadataRef(block int64, offset int) uint64 {
	return uint64(block)<<16 | uint64(offset)
}
