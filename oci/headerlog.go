package oci

import (
	"encoding/binary"
	"iter"
	"sort"

	"github.com/abupdate/abupdate/internal/fstree"
)

// A headerLog keeps the headers of one layer in the order of its tar, without
// pointers: some 35 bytes for each entry of a Debian system. Pages are given
// back one by one while flattening reads them for the last time.
//
//	tag      1 byte: what it is (bits 0-3), flags (bits 4-7)
//	ordinal  uvarint, with flagGap: tar entries left out before this one
//	path     front-coded against the entry before
//	mode, uid, gid  uvarints, unless flagSame
//	mtime    varint, difference to the entry before
//	xattrs   uvarint, with flagXattrs: number of a set in attrs
//	dropped  uvarint, with flagDropped: number of a list in attrs
//	then, by what it is: size and content; link name; major and minor number
//
// A whiteout has no more than a path, a hardlink no metadata but its target.
// A page begins anew: its first entry refers to none before.
type headerLog struct {
	attrs     *attrTable
	pages     []logPage
	entries   int
	whiteouts int
	hardlinks int
	last      logState
	scratch   []byte
}

type logPage struct {
	buf     []byte
	first   int    // number of its first entry
	ordinal uint32 // of that one
}

// logState is what an entry's encoding refers to.
type logState struct {
	path    string
	ordinal uint32
	content fstree.Content
	mtime   int64
	meta    [fstree.Hardlink]metadata // by type
}

type metadata struct {
	mode     uint16
	uid, gid uint32
}

// A record is an entry as the log has it. Its content is NoContent when it has
// none, or when it was passed over. Names of dropped attributes are a number
// in attrs when they come out of the log, 0 being none.
type record struct {
	header
	content    fstree.Content
	droppedSet uint32
}

// hasContent says whether r is a file of more than no bytes.
func (r *record) hasContent() bool { return r.kind == object && r.Type == fstree.Regular && r.Size > 0 }

const (
	logPageBytes = 16 << 10

	tagWhiteout = 9 // below are the types of fstree
	tagOpaque   = 10
	tagMask     = 0x0f

	flagGap     = 0x10
	flagSame    = 0x20
	flagXattrs  = 0x40
	flagDropped = 0x80
)

// append adds an entry behind the last one.
func (l *headerLog) append(r *record) {
	n := len(l.pages)
	if n > 0 {
		b := l.last.encode(l.scratch[:0], r, l.attrs)
		l.scratch = b
		if p := &l.pages[n-1]; len(p.buf)+len(b) <= cap(p.buf) {
			p.buf = append(p.buf, b...)
			l.count(r)
			return
		}
	}
	l.last = logState{ordinal: r.ordinal}
	b := l.last.encode(l.scratch[:0], r, l.attrs)
	l.scratch = b
	page := logPage{buf: make([]byte, 0, max(logPageBytes, len(b))), first: l.entries, ordinal: r.ordinal}
	page.buf = append(page.buf, b...)
	l.pages = append(l.pages, page)
	l.count(r)
}

func (l *headerLog) count(r *record) {
	l.entries++
	if r.kind != object {
		l.whiteouts++
	} else if r.Type == fstree.Hardlink {
		l.hardlinks++
	}
}

// finish gives back what the last page has left.
func (l *headerLog) finish() {
	l.scratch = nil
	l.last = logState{}
	if n := len(l.pages); n > 0 {
		l.pages[n-1].buf = append([]byte(nil), l.pages[n-1].buf...)
	}
}

// all gives the entries with their numbers. A record is good until the next.
// With free, pages are given back as soon as they are read.
func (l *headerLog) all(free bool) iter.Seq2[int, *record] {
	return func(yield func(int, *record) bool) {
		for i := range l.pages {
			if !l.page(i, yield) {
				return
			}
			if free {
				l.pages[i].buf = nil
			}
		}
	}
}

// entry finds an entry by its number.
func (l *headerLog) entry(number int) *record {
	i := sort.Search(len(l.pages), func(i int) bool { return l.pages[i].first > number }) - 1
	var found *record
	l.page(i, func(n int, r *record) bool {
		found = r
		return n < number
	})
	return found
}

func (l *headerLog) page(i int, yield func(int, *record) bool) bool {
	p := l.pages[i]
	d := logDecoder{logState: logState{ordinal: p.ordinal}, buf: p.buf, attrs: l.attrs}
	r := new(record)
	for n := p.first; len(d.buf) > 0; n++ {
		*r = d.next()
		if !yield(n, r) {
			return false
		}
	}
	return true
}

// encode appends r's encoding to b.
func (s *logState) encode(b []byte, r *record, attrs *attrTable) []byte {
	tag, at := byte(r.Type), len(b)
	switch r.kind {
	case whiteout:
		tag = tagWhiteout
	case opaque:
		tag = tagOpaque
	}
	b = append(b, 0)
	if gap := r.ordinal - s.ordinal; gap > 0 {
		tag |= flagGap
		b = binary.AppendUvarint(b, uint64(gap))
	}
	s.ordinal = r.ordinal + 1
	b = appendFront(b, s.path, r.Path)
	s.path = r.Path
	if r.kind == object && r.Type == fstree.Hardlink {
		b = appendFront(b, r.Path, r.Linkname)
	} else if r.kind == object {
		b, tag = s.encodeObject(b, tag, r, attrs)
	}
	b[at] = tag
	return b
}

func (s *logState) encodeObject(b []byte, tag byte, r *record, attrs *attrTable) ([]byte, byte) {
	m := metadata{r.Mode, r.UID, r.GID}
	if s.meta[r.Type] == m {
		tag |= flagSame
	} else {
		s.meta[r.Type] = m
		b = binary.AppendUvarint(b, uint64(m.mode))
		b = binary.AppendUvarint(b, uint64(m.uid))
		b = binary.AppendUvarint(b, uint64(m.gid))
	}
	b = binary.AppendVarint(b, r.ModTime-s.mtime)
	s.mtime = r.ModTime
	if len(r.Xattrs) > 0 {
		tag |= flagXattrs
		b = binary.AppendUvarint(b, attrs.addXattrs(r.Xattrs))
	}
	if len(r.dropped) > 0 {
		tag |= flagDropped
		b = binary.AppendUvarint(b, attrs.addNames(r.dropped))
	}
	switch r.Type {
	case fstree.Regular:
		b = binary.AppendUvarint(b, uint64(r.Size))
		if r.Size > 0 {
			b = s.encodeContent(b, r.content)
		}
	case fstree.Symlink:
		b = appendFront(b, "", r.Linkname)
	case fstree.CharDevice, fstree.BlockDevice:
		b = binary.AppendUvarint(b, uint64(r.Major))
		b = binary.AppendUvarint(b, uint64(r.Minor))
	}
	return b, tag
}

// encodeContent writes 0 for NoContent, else the difference to the content
// that would follow the last one.
func (s *logState) encodeContent(b []byte, c fstree.Content) []byte {
	if c == fstree.NoContent {
		return append(b, 0)
	}
	d := int64(c) - int64(s.content)
	s.content = c + 1
	return binary.AppendUvarint(b, 1+(uint64(d)<<1^uint64(d>>63)))
}

// appendFront writes how many bytes s begins with of prev, and the rest.
func appendFront(b []byte, prev, s string) []byte {
	n := 0
	for n < len(prev) && n < len(s) && prev[n] == s[n] {
		n++
	}
	b = binary.AppendUvarint(b, uint64(n))
	b = binary.AppendUvarint(b, uint64(len(s)-n))
	return append(b, s[n:]...)
}
