package fstree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
)

// NoXattrs is the number of the empty set of attributes.
const NoXattrs = ^uint32(0)

// xattrSets keeps every different set of attributes once, as one string of
// lengths, names and values.
type xattrSets struct {
	strings arena
	sets    table[span]
	index   index
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
	s.index.grow(func(i uint32) uint64 { return maphash.Bytes(seed, s.raw(i)) })
	slot, i, ok := s.index.find(maphash.Bytes(seed, key), func(i uint32) bool { return string(s.raw(i)) == string(key) })
	if ok {
		return i, nil
	}
	ref, ok := s.strings.add(string(key))
	if !ok {
		return NoXattrs, errXattrs
	}
	i = s.sets.add(span{ref, uint32(len(key))})
	s.index.set(slot, i)
	return i, nil
}

func (s *xattrSets) raw(i uint32) []byte {
	at := s.sets.at(i)
	return s.strings.get(at.ref, int(at.n))
}

// get returns the set with number i; the values are copies.
func (s *xattrSets) get(i uint32) []Xattr {
	if i == NoXattrs {
		return nil
	}
	var x []Xattr
	for rest := s.raw(i); len(rest) > 0; {
		var name, value []byte
		name, rest = cutString(rest)
		value, rest = cutString(rest)
		x = append(x, Xattr{Name: string(name), Value: append([]byte{}, value...)})
	}
	return x
}

func cutString(b []byte) (s, rest []byte) {
	n, m := binary.Uvarint(b)
	b = b[m:]
	return b[:n:n], b[n:]
}

func (s *xattrSets) bytes() int64 {
	return s.strings.bytes() + s.sets.bytes() + s.index.bytes() + int64(cap(s.key))
}
