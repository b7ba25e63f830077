package squashfs

// A table is a list that grows by whole pages, so that a long one is never
// copied (growing a slice of a million nodes would hold it twice) and pointers
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

// An arena keeps strings without a header or an allocation for each.
type arena struct {
	pages [][]byte
}

// arenaPage is also the limit of one string's length.
const arenaPage = 64 << 10

// add keeps a copy of s and returns where. ok is false when 4 GiB are full.
func (a *arena) add(s string) (ref uint32, ok bool) {
	last := len(a.pages) - 1
	if last < 0 || len(a.pages[last])+len(s) > arenaPage {
		if len(a.pages) == 1<<32/arenaPage {
			return 0, false
		}
		a.pages = append(a.pages, make([]byte, 0, arenaPage))
		last++
	}
	ref = uint32(last*arenaPage + len(a.pages[last]))
	a.pages[last] = append(a.pages[last], s...)
	return ref, true
}

// get returns the n bytes at ref.
func (a *arena) get(ref uint32, n int) []byte {
	if n == 0 {
		return nil
	}
	off := int(ref % arenaPage)
	return a.pages[ref/arenaPage][off : off+n]
}
