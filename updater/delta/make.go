package delta

import (
	"bytes"
	"slices"
	"sort"
)

// New compares an image with older ones. Of several equal blocks that which
// continues a run is taken, else the one in the first source.
func New(image Source, old ...Source) (*Plan, error) {
	m, err := newMaker(image, old)
	if err != nil {
		return nil, err
	}
	if err := m.repeats(); err != nil {
		return nil, err
	}
	for s := range m.old {
		if err := m.search(s); err != nil {
			return nil, err
		}
	}
	m.index = nil // its room is for what comes now
	return m.plan(), nil
}

// A maker makes a plan. Blocks of all old images are numbered through, in
// their order; the numbers behind those are the blocks of the new one.
type maker struct {
	image Source
	old   []Source
	base  []uint32 // number of each old image's first block
	self  uint32   // number of the new image's first block
	where []uint32 // by new block: the one to copy, or none
	index *index
	run   *leaves // of the new image, where a run goes on
	here  *leaves // of the new image, where the old block stands
}

func newMaker(image Source, old []Source) (*maker, error) {
	m := &maker{image: image, old: slices.Clone(old)}
	var total int64
	for i, src := range m.old {
		if !bytes.Equal(src.Salt, image.Salt) {
			m.old[i].Blocks = 0 // its hashes say nothing
			src.Blocks = 0
		}
		m.base = append(m.base, uint32(total))
		if total += src.Blocks; src.Blocks < 0 || total >= none {
			return nil, errTooLarge
		}
	}
	if image.Blocks < 0 || total+image.Blocks >= none {
		return nil, errTooLarge
	}
	m.self, m.where = uint32(total), make([]uint32, image.Blocks)
	m.run, m.here = newLeaves(image, windowHashes), newLeaves(image, windowHashes)
	return m, nil
}

// repeats enters the new blocks into the index, and finds those that stand
// further ahead in the new image.
func (m *maker) repeats() (err error) {
	if m.index, err = newIndex(m.image); err != nil {
		return err
	}
	for i := range m.where {
		sum, err := m.run.at(int64(i))
		if err != nil {
			return err
		}
		first, err := m.index.put(uint32(i), sum)
		if err != nil {
			return err
		}
		if m.where[i] = none; first != none {
			m.where[i] = m.self + first
		}
	}
	return nil
}

// repeated says whether block i is a copy of one ahead.
func (m *maker) repeated(i uint32) bool { return m.where[i] >= m.self && m.where[i] != none }

// search goes through an old image, and takes what the new one needs.
func (m *maker) search(s int) error {
	src := m.old[s]
	all := newLeaves(src, windowHashes)
	last := uint32(none) // new block that equals the old one before
	for j := range src.Blocks {
		sum, err := all.at(j)
		if err != nil {
			return err
		}
		if j >= src.Gone.First && j < src.Gone.End {
			last = none
			continue
		}
		if last, err = m.match(last, sum); err != nil {
			return err
		}
		if last != none && !(src.Under && j < int64(last)) {
			m.offer(last, m.base[s]+uint32(j), src.Under)
		}
		if !src.Under {
			continue
		}
		if same, err := m.here.is(j, sum); err != nil {
			return err
		} else if same {
			m.where[j] = m.base[s] + uint32(j)
		}
	}
	return nil
}

// match finds the first new block with the hash sum, the one after last if it
// is.
func (m *maker) match(last uint32, sum []byte) (uint32, error) {
	if next := last + 1; last != none && int64(next) < m.image.Blocks && !m.repeated(next) {
		if ok, err := m.run.is(int64(next), sum); ok || err != nil {
			return next, err
		}
	}
	number, _, err := m.index.find(sum)
	return number, err
}

// offer takes an old block for new block i if there is none yet, or if it
// continues a run.
func (m *maker) offer(i, number uint32, under bool) {
	switch old := m.where[i]; {
	case old == none:
		m.where[i] = number
	case under || m.repeated(i) || m.under(old):
	case i > 0 && m.where[i-1] != none && m.where[i-1]+1 == number:
		m.where[i] = number
	}
}

// under says whether the new image is written over an old block.
func (m *maker) under(number uint32) bool {
	if number >= m.self {
		return false
	}
	s, _ := m.place(number)
	return m.old[s].Under
}

// place returns the source of an old block, and its number there.
func (m *maker) place(number uint32) (source int, i int64) {
	s := sort.Search(len(m.base), func(s int) bool { return m.base[s] > number }) - 1
	return s, int64(number - m.base[s])
}

// from returns where new block i comes from; nowhere if it has to be fetched.
func (m *maker) from(i int64) (source int, block int64, ok bool) {
	number := m.where[i]
	if !m.repeated(uint32(i)) {
		if number == none {
			return 0, 0, false
		}
		source, block = m.place(number)
		return source, block, true
	}
	first := int64(number - m.self)
	if number = m.where[first]; number == none {
		return Self, first, true
	}
	if source, block = m.place(number); m.old[source].Under && block < i {
		return Self, first, true
	}
	return source, block, true
}

// plan joins blocks to runs.
func (m *maker) plan() *Plan {
	p := &Plan{Blocks: m.image.Blocks}
	for to := range p.Blocks {
		source, from, ok := m.from(to)
		if ok {
			p.copy(source, from, to)
		} else if n := len(p.Missing) - 1; n >= 0 && p.Missing[n].End == to {
			p.Missing[n].End++
		} else {
			p.Missing = append(p.Missing, Range{to, to + 1})
		}
	}
	return p
}
