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
