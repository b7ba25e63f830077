package unsquash

import (
	"fmt"

	"github.com/abupdate/abupdate/internal/fstree"
)

// prefixes are the name spaces of attributes, by their number.
var prefixes = [...]string{"user.", "trusted.", "security."}

const (
	outOfLine     = 0x100
	maxXattrValue = 64 << 10
)

// xattrs are the sets of attributes.
type xattrs struct {
	base  int64  // of the metadata blocks with names and values
	table []byte // 16 bytes for each set
	sets  map[uint32][]fstree.Xattr
}

func (l *loader) openXattrs() error {
	pos := l.im.sb.xattrTable
	if pos == -1 {
		return nil
	}
	head := make([]byte, 16)
	if pos < superblockSize || pos > l.im.sb.bytesUsed-int64(len(head)) {
		return fmt.Errorf("table of attributes at byte %d: %w", pos, ErrCorrupt)
	}
	if err := readFull(l.im.r, head, pos); err != nil {
		return err
	}
	l.xattrs.base, l.xattrs.sets = int64(le.Uint64(head)), make(map[uint32][]fstree.Xattr)
	var err error
	l.xattrs.table, err = l.meta.lookup("attributes", pos+int64(len(head)), int(le.Uint32(head[8:])), 16)
	return err
}

// attributes returns set number i, nothing for none. Objects share it.
func (l *loader) attributes(i uint32) ([]fstree.Xattr, error) {
	if i == none {
		return nil, nil
	}
	if set, ok := l.xattrs.sets[i]; ok {
		return set, nil
	}
	if int64(i) >= int64(len(l.xattrs.table)/16) {
		return nil, fmt.Errorf("set of attributes %d of %d: %w", i, len(l.xattrs.table)/16, ErrCorrupt)
	}
	row := fields{l.xattrs.table[i*16:]}
	c := l.meta.at(l.xattrs.base, row.u64())
	var set []fstree.Xattr
	for range row.u32() {
		x, err := l.attribute(&c)
		if err != nil {
			return nil, err
		}
		set = append(set, x)
	}
	fstree.SortXattrs(set)
	l.xattrs.sets[i] = set
	return set, nil
}

// attribute reads {prefix and flag uint16, name length uint16, name, value
// length uint32, value or where it is}.
func (l *loader) attribute(c *cursor) (fstree.Xattr, error) {
	b, err := c.read(4)
	if err != nil {
		return fstree.Xattr{}, err
	}
	prefix, length := le.Uint16(b), int(le.Uint16(b[2:]))
	far := prefix&outOfLine != 0
	if prefix &^= outOfLine; int(prefix) >= len(prefixes) || length >= maxName {
		return fstree.Xattr{}, fmt.Errorf("attribute of type %d with a name of %d bytes: %w", prefix, length, ErrCorrupt)
	}
	if b, err = c.read(length); err != nil {
		return fstree.Xattr{}, err
	}
	x := fstree.Xattr{Name: prefixes[prefix] + string(b)}
	if x.Value, err = value(c); err != nil || !far {
		return x, err
	}
	if len(x.Value) != 8 {
		return x, fmt.Errorf("attribute %q: position of %d bytes: %w", x.Name, len(x.Value), ErrCorrupt)
	}
	at := l.meta.at(l.xattrs.base, le.Uint64(x.Value))
	x.Value, err = value(&at)
	return x, err
}

func value(c *cursor) ([]byte, error) {
	b, err := c.read(4)
	if err != nil {
		return nil, err
	}
	n := le.Uint32(b)
	if n > maxXattrValue {
		return nil, fmt.Errorf("attribute of %d bytes: %w", n, ErrCorrupt)
	}
	return c.read(int(n))
}
