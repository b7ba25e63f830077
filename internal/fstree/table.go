package fstree

import "unsafe"

// A table is a list that grows by whole pages, so that a long one is never
// copied (growing a slice of a million names would hold it twice) and pointers
// into it stay good.
type table[T any] struct {
	pages []*[pageLen]T
	n     uint32
}

const pageLen = 512

func (t *table[T]) len() uint32 { return t.n }

func (t *table[T]) at(i uint32) *T {
	return &t.pages[i/pageLen][i%pageLen]
}

// add appends v and returns its index.
func (t *table[T]) add(v T) uint32 {
	i := t.n
	if i%pageLen == 0 {
		t.pages = append(t.pages, new([pageLen]T))
	}
	t.n++
	*t.at(i) = v
	return i
}

// bytes is the memory that the table takes.
func (t *table[T]) bytes() int64 {
	var page [pageLen]T
	return int64(len(t.pages))*int64(unsafe.Sizeof(page)) + int64(cap(t.pages))*8
}

// An arena keeps strings without a header or an allocation for each. A string
// is found by the number of its page and the position in there; a long one has
// a page of its own.
type arena struct {
	pages [][]byte
	open  int // page that is being filled, plus one
	total int64
}

const (
	arenaPage = 64 << 10
	ownPage   = arenaPage / 4 // strings from this length on have their own page
	maxPages  = 1 << 32 / arenaPage
)

// add keeps a copy of s and returns where. ok is false when all pages, 4 GiB
// or more, are full.
func (a *arena) add(s string) (ref uint32, ok bool) {
	if len(s) == 0 {
		return 0, true
	}
	if len(s) >= ownPage {
		return a.page([]byte(s))
	}
	if a.open == 0 || len(a.pages[a.open-1])+len(s) > arenaPage {
		if _, ok := a.page(make([]byte, 0, arenaPage)); !ok {
			return 0, false
		}
		a.open = len(a.pages)
	}
	p := &a.pages[a.open-1]
	ref = uint32((a.open-1)*arenaPage + len(*p))
	*p = append(*p, s...)
	return ref, true
}

func (a *arena) page(p []byte) (ref uint32, ok bool) {
	if len(a.pages) == maxPages {
		return 0, false
	}
	a.pages = append(a.pages, p)
	a.total += int64(cap(p))
	return uint32((len(a.pages) - 1) * arenaPage), true
}

// get returns the n bytes at ref.
func (a *arena) get(ref uint32, n int) []byte {
	if n == 0 {
		return nil
	}
	off := int(ref % arenaPage)
	return a.pages[ref/arenaPage][off : off+n : off+n]
}

// bytes is the memory that the arena takes.
func (a *arena) bytes() int64 { return a.total + int64(cap(a.pages))*24 }
