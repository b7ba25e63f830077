package paged

// An Arena keeps strings, 4 GiB of them. One is found by a number that tells
// its page and the position in there; a long one has a page of its own. The
// zero value is empty.
type Arena struct {
	pages [][]byte
	open  int // page that is being filled, plus one
	total int64
}

const (
	arenaPage = 64 << 10
	ownPage   = arenaPage / 4 // strings from this length on have their own page
)

var maxPages = 1 << 32 / arenaPage // less in a test

// Add keeps a copy of s and returns where. It reports false when there is no
// room.
func (a *Arena) Add(s string) (ref uint32, ok bool) {
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

func (a *Arena) page(p []byte) (ref uint32, ok bool) {
	if len(a.pages) == maxPages {
		return 0, false
	}
	a.pages = append(a.pages, p)
	a.total += int64(cap(p))
	return uint32((len(a.pages) - 1) * arenaPage), true
}

// Get returns the n bytes at ref. They must not be changed.
func (a *Arena) Get(ref uint32, n int) []byte {
	if n == 0 {
		return nil
	}
	off := int(ref % arenaPage)
	return a.pages[ref/arenaPage][off : off+n : off+n]
}

// Bytes returns the memory that the arena takes.
func (a *Arena) Bytes() int64 { return a.total + int64(cap(a.pages))*24 }
