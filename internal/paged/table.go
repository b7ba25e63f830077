// Package paged has lists and indexes for millions of small values: without a
// pointer or an allocation for each, so that they cost little more than their
// bytes and nothing to the garbage collector.
package paged

import "unsafe"

// A Table is a list that grows by whole pages, so that a long one is never
// copied (growing a slice of a million values holds it twice) and pointers into
// it stay good. The zero value is empty.
type Table[T any] struct {
	pages []*[pageLen]T
	n     uint32
}

const pageLen = 512

// Len returns the number of values.
func (t *Table[T]) Len() uint32 { return t.n }

// At returns where value i stands.
func (t *Table[T]) At(i uint32) *T {
	return &t.pages[i/pageLen][i%pageLen]
}

// Add appends v and returns its number.
func (t *Table[T]) Add(v T) uint32 {
	i := t.n
	if i%pageLen == 0 {
		t.pages = append(t.pages, new([pageLen]T))
	}
	t.n++
	*t.At(i) = v
	return i
}

// Bytes returns the memory that the table takes.
func (t *Table[T]) Bytes() int64 {
	var page [pageLen]T
	return int64(len(t.pages))*int64(unsafe.Sizeof(page)) + int64(cap(t.pages))*int64(unsafe.Sizeof(&page))
}
