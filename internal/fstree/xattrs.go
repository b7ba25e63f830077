package fstree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"

	"github.com/abupdate/abupdate/internal/paged"
)

// NoXattrs is the number of the empty set of attributes.
const NoXattrs = ^uint32(0)

// xattrSets keeps every different set of attributes once, as one string of
// lengths, names and values.
type xattrSets struct {
	strings paged.Arena
	sets    paged.Table[span]
	index   paged.Index
	key     []byte
}

// A span is where a string stands in an arena.
type span struct{ ref, n uint32 }

var errXattrs = errors.New("more than 4 GiB of attributes")

// add returns the number of the set x.
func (s *xattrSets) add(seed maphash.Seed, x []Xattr) (uint32, error) {
	if len(x) == 0 {
		return NoXattrs, nil
	}
	key := s.key[:0]
	for i, a := range x {
		if i > 0 && x[i-1].Name >= a.Name {
			return NoXattrs, fmt.Errorf("attributes %q and %q are not sorted and unique", x[i-1].Name, a.Name)
		}
		key = binary.AppendUvarint(key, uint64(len(a.Name)))
		key = append(key, a.Name...)
		key = binary.AppendUvarint(key, uint64(len(a.Value)))
		key = append(key, a.Value...)
	}
	s.key = key
	if uint64(len(key)) > 1<<32-1 {
		return NoXattrs, errXattrs
	}
	s.index.Grow(func(i uint32) uint64 { return maphash.Bytes(seed, s.raw(i)) })
	slot, i, ok := s.index.Find(maphash.Bytes(seed, key), func(i uint32) bool { return string(s.raw(i)) == string(key) })
	if ok {
		return i, nil
	}
	ref, ok := s.strings.Add(string(key))
	if !ok {
		return NoXattrs, errXattrs
	}
	i = s.sets.Add(span{ref, uint32(len(key))})
	s.index.Set(slot, i)
	return i, nil
}

func (s *xattrSets) raw(i uint32) []byte {
	at := s.sets.At(i)
	return s.strings.Get(at.ref, int(at.n))
}

// all returns the attributes of set i, without copies.
func (s *xattrSets) all(i uint32) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		if i == NoXattrs {
			return
		}
		for rest := s.raw(i); len(rest) > 0; {
			var name, value []byte
			name, rest = cutString(rest)
			value, rest = cutString(rest)
			if !yield(name, value) {
				return
			}
		}
	}
}

func cutString(b []byte) (s, rest []byte) {
	n, m := binary.Uvarint(b)
	b = b[m:]
	return b[:n:n], b[n:]
}

func (s *xattrSets) bytes() int64 {
	return s.strings.Bytes() + s.sets.Bytes() + s.index.Bytes() + int64(cap(s.key))
}
