package oci

import (
	"encoding/binary"

	"github.com/abupdate/abupdate/internal/fstree"
)

// A logDecoder reads a page of a headerLog. Bad says that the page was not one:
// the last record is then none.
type logDecoder struct {
	logState
	buf   []byte
	attrs *attrTable
	bad   bool
}

func (d *logDecoder) next() record {
	tag := d.buf[0]
	d.buf = d.buf[1:]
	r := record{content: fstree.NoContent}
	switch tag & tagMask {
	case tagWhiteout:
		r.kind = whiteout
	case tagOpaque:
		r.kind = opaque
	default:
		r.Type = fstree.Type(tag & tagMask)
		if r.Type < fstree.Regular || r.Type > fstree.Hardlink {
			d.bad = true
			return r
		}
	}
	if tag&flagGap != 0 {
		d.ordinal += uint32(d.uvarint())
	}
	r.ordinal = d.ordinal
	d.ordinal++
	d.path = d.front(d.path)
	r.Path = d.path
	if r.kind == object && r.Type == fstree.Hardlink {
		r.Linkname = d.front(r.Path)
	} else if r.kind == object {
		d.object(tag, &r)
	}
	return r
}

func (d *logDecoder) object(tag byte, r *record) {
	m := &d.meta[r.Type]
	if tag&flagSame == 0 {
		*m = metadata{uint16(d.uvarint()), uint32(d.uvarint()), uint32(d.uvarint())}
	}
	r.Mode, r.UID, r.GID = m.mode, m.uid, m.gid
	d.mtime += d.varint()
	r.ModTime = d.mtime
	if tag&flagXattrs != 0 {
		r.Xattrs = d.attrs.xattrs(d.set())
	}
	if tag&flagDropped != 0 {
		r.droppedSet = uint32(d.set()) + 1
	}
	switch r.Type {
	case fstree.Regular:
		r.Size = int64(d.uvarint())
		if r.Size > 0 {
			r.content = d.nextContent()
		}
	case fstree.Symlink:
		r.Linkname = d.front("")
	case fstree.CharDevice, fstree.BlockDevice:
		r.Major, r.Minor = uint32(d.uvarint()), uint32(d.uvarint())
	}
}

func (d *logDecoder) nextContent() fstree.Content {
	u := d.uvarint()
	if u == 0 {
		return fstree.NoContent
	}
	u--
	c := fstree.Content(int64(d.content) + (int64(u>>1) ^ -int64(u&1)))
	d.content = c + 1
	return c
}

// set reads the number of a set in attrs.
func (d *logDecoder) set() uint64 {
	n := d.uvarint()
	if n >= uint64(len(d.attrs.sets)) {
		d.bad = true
	}
	return n
}

func (d *logDecoder) uvarint() uint64 {
	u, n := binary.Uvarint(d.buf)
	d.skip(n)
	return u
}

func (d *logDecoder) varint() int64 {
	i, n := binary.Varint(d.buf)
	d.skip(n)
	return i
}

// skip passes over n bytes; less than one is what a number that is none has.
func (d *logDecoder) skip(n int) {
	if n <= 0 {
		d.bad, n = true, len(d.buf)
	}
	d.buf = d.buf[n:]
}

func (d *logDecoder) front(prev string) string {
	shared, rest := d.uvarint(), d.uvarint()
	if shared > uint64(len(prev)) || rest > uint64(len(d.buf)) {
		d.bad = true
		return ""
	}
	s := prev[:shared] + string(d.buf[:rest])
	d.buf = d.buf[rest:]
	return s
}
