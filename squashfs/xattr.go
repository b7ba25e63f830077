package squashfs

import (
	"bytes"
	"fmt"
	"hash/maphash"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/internal/paged"
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

// xattrs are the tree's sets of attributes that are in use, each in the place
// where it was first met.
type xattrs struct {
	tree  *fstree.Tree
	sets  paged.Table[uint32] // as the tree numbers them
	place []uint32            // the inverse, plus one
	refs  paged.Table[uint64]
	far   farValues
}

// add returns the place of a set of the tree, none for the empty one.
func (t *xattrs) add(set uint32) (uint32, error) {
	if set == fstree.NoXattrs {
		return none, nil
	}
	if t.place == nil {
		t.place = make([]uint32, t.tree.XattrSets())
	}
	if i := t.place[set]; i > 0 {
		return i - 1, nil
	}
	for name, value := range t.tree.Xattrs(set) {
		if err := checkXattr(name, value); err != nil {
			return none, err
		}
	}
	i := t.sets.Add(set)
	t.place[set] = i + 1
	return i, nil
}

func checkXattr(full, value []byte) error {
	_, name, ok := splitXattr(full)
	switch {
	case !ok:
		return fmt.Errorf("attribute %q: a squashfs holds only user, trusted and security attributes", full)
	case len(name) == 0 || len(full) > maxName || bytes.IndexByte(name, 0) >= 0:
		return fmt.Errorf("attribute %q: not a name of 1 to %d bytes", full, maxName)
	case len(value) > maxXattrValue:
		return fmt.Errorf("attribute %q: value of %d bytes is longer than %d", full, len(value), maxXattrValue)
	}
	return nil
}

func splitXattr(full []byte) (prefix uint16, name []byte, ok bool) {
	for i, p := range xattrPrefixes {
		if name, ok := bytes.CutPrefix(full, []byte(p)); ok {
			return uint16(i), name, true
		}
	}
	return 0, nil, false
}

// write writes the sets and the table of them; it returns the position for the
// superblock, ^0 without any.
//
//	values and sets in metadata blocks | table of sets in metadata blocks |
//	{position of the former uint64, number of sets uint32, 0 uint32} | positions of the latter's blocks
func (t *xattrs) write(out *output, c compressor) (int64, error) {
	if t.sets.Len() == 0 {
		return -1, nil
	}
	base := out.pos
	m := newMetadataWriter(out, c)
	for i := range t.sets.Len() {
		if err := t.writeSet(m, *t.sets.At(i)); err != nil {
			return 0, err
		}
	}
	if err := m.flush(); err != nil {
		return 0, err
	}
	header := le.AppendUint64(nil, uint64(base))
	header = le.AppendUint32(header, t.sets.Len())
	header = le.AppendUint32(header, 0)
	return writeLookup(out, c, header, t.writeTable)
}

// writeSet writes a set, and before it those of its long values that no set
// before had.
func (t *xattrs) writeSet(m *metadataWriter, set uint32) error {
	for _, value := range t.tree.Xattrs(set) {
		if err := t.far.write(m, value); err != nil {
			return err
		}
	}
	block, offset := m.ref()
	t.refs.Add(metadataRef(block, offset))
	for name, value := range t.tree.Xattrs(set) {
		if err := t.writeXattr(m, name, value); err != nil {
			return err
		}
	}
	return nil
}

// writeXattr writes {prefix and flag uint16, name length uint16, name, value
// length uint32, value or where it is}.
func (t *xattrs) writeXattr(m *metadataWriter, full, value []byte) error {
	prefix, name, _ := splitXattr(full)
	if len(value) > inlineValue {
		prefix |= xattrOutOfLine
		value = le.AppendUint64(nil, t.far.ref(value))
	}
	b := le.AppendUint16(nil, prefix)
	b = le.AppendUint16(b, uint16(len(name)))
	b = append(b, name...)
	b = le.AppendUint32(b, uint32(len(value)))
	return m.write(append(b, value...))
}

// writeTable writes {where the set is uint64, number of attributes, length of
// their names, with a zero byte each, and values uint32}.
func (t *xattrs) writeTable(m *metadataWriter) error {
	for i := range t.sets.Len() {
		count, size := 0, 0
		for name, value := range t.tree.Xattrs(*t.sets.At(i)) {
			count++
			size += len(name) + 1 + len(value)
		}
		b := le.AppendUint64(nil, *t.refs.At(i))
		b = le.AppendUint32(b, uint32(count))
		if err := m.write(le.AppendUint32(b, uint32(size))); err != nil {
			return err
		}
	}
	return nil
}

// farValues finds the long values written so far.
type farValues struct {
	seed   maphash.Seed
	values paged.Table[farValue]
	index  paged.Index
}

type farValue struct {
	value []byte // the tree's
	ref   uint64
}

func (f *farValues) find(value []byte) (slot paged.Slot, i uint32, ok bool) {
	if f.values.Len() == 0 {
		f.seed = maphash.MakeSeed()
	}
	f.index.Grow(func(i uint32) uint64 { return maphash.Bytes(f.seed, f.values.At(i).value) })
	return f.index.Find(maphash.Bytes(f.seed, value), func(i uint32) bool { return bytes.Equal(f.values.At(i).value, value) })
}

// write writes a value if it is long and new.
func (f *farValues) write(m *metadataWriter, value []byte) error {
	if len(value) <= inlineValue {
		return nil
	}
	slot, _, ok := f.find(value)
	if ok {
		return nil
	}
	block, offset := m.ref()
	f.index.Set(slot, f.values.Add(farValue{value, metadataRef(block, offset)}))
	if err := m.write(le.AppendUint32(nil, uint32(len(value)))); err != nil {
		return err
	}
	return m.write(value)
}

// ref returns where a value was written.
func (f *farValues) ref(value []byte) uint64 {
	_, i, _ := f.find(value)
	return f.values.At(i).ref
}
