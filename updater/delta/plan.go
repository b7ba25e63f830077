package delta

import (
	"bytes"
	"cmp"
	"slices"
)

// A Range is the blocks from number First up to, not including, End.
type Range struct {
	First, End int64
}

// Blocks is the number of blocks.
func (r Range) Blocks() int64 { return r.End - r.First }

// Self is the Source of a Copy of blocks that the new image has further ahead.
const Self = -1

// A Copy is a run of blocks that need not be fetched.
type Copy struct {
	// Source is the place of the old image in the arguments of New, or Self.
	Source int
	From   int64 // the first block there
	To     Range // the blocks in the new image
}

// A Plan says where every block of a new image comes from: Missing and the To
// of Copies cover the image, and no block is in two of them.
type Plan struct {
	Blocks int64 // of the new image
	// Missing are the blocks to fetch, ascending; two ranges never touch.
	Missing []Range
	// Copies ascend too. Those from Self copy blocks of Missing from ahead
	// of their own place: an image that is written in order has them.
	Copies []Copy
}

// New compares an image with older ones. Of several equal blocks that which
// continues a run is taken, else the one in the first source.
func New(image Source, old ...Source) (*Plan, error) {
	if image.Blocks < 0 || image.Blocks >= none {
		return nil, errTooLarge
	}
	sources := slices.Clone(old)
	for i, src := range sources {
		if !bytes.Equal(src.Salt, image.Salt) {
			sources[i].Blocks = 0 // its hashes say nothing
		}
	}
	m := &maker{image: newLeaves(image)}
	var err error
	if m.index, err = newIndex(sources); err != nil {
		return nil, err
	}
	if err := m.lookUp(); err != nil {
		return nil, err
	}
	if err := m.repeats(); err != nil {
		return nil, err
	}
	return m.plan(), nil
}

// A maker makes a plan.
type maker struct {
	image   *leaves
	index   *index
	where   []uint32 // by new block: number of the old one, or none
	missing []uint64 // new blocks without an old one: bits of the hash, then the block
	again   map[uint32]uint32
}

// lookUp finds the old block for each new one.
func (m *maker) lookUp() error {
	m.where = make([]uint32, m.image.src.Blocks)
	last := uint32(none)
	for i := range m.where {
		sum, err := m.image.at(int64(i))
		if err != nil {
			return err
		}
		if last, err = m.after(last, sum); err != nil {
			return err
		}
		if m.where[i] = last; last == none {
			m.missing = append(m.missing, prefix(sum)>>32<<32|uint64(i))
		}
	}
	return nil
}

// after finds the old block with the hash sum, the one after last if it is.
func (m *maker) after(last uint32, sum []byte) (uint32, error) {
	if last != none {
		s, i := m.index.place(last)
		if ok, err := m.index.sources[s].is(i+1, sum); ok || err != nil {
			return last + 1, err
		}
	}
	return m.index.find(sum)
}

// repeats finds the missing blocks that stand in the new image further ahead.
func (m *maker) repeats() error {
	slices.Sort(m.missing)
	m.again = make(map[uint32]uint32)
	for len(m.missing) > 0 {
		n := 1
		for n < len(m.missing) && m.missing[n]>>32 == m.missing[0]>>32 {
			n++
		}
		if n > 1 {
			if err := m.group(m.missing[:n]); err != nil {
				return err
			}
		}
		m.missing = m.missing[n:]
	}
	return nil
}

// group takes missing blocks whose hashes begin alike, ascending.
func (m *maker) group(blocks []uint64) error {
	var firsts []uint32
	for _, e := range blocks {
		block := uint32(e)
		first, err := m.equal(block, firsts)
		switch {
		case err != nil:
			return err
		case first != none:
			m.again[block] = first
		default:
			firsts = append(firsts, block)
		}
	}
	return nil
}

// equal returns the one of firsts that equals a block of the new image, or
// none.
func (m *maker) equal(block uint32, firsts []uint32) (uint32, error) {
	sum, err := m.image.at(int64(block))
	if err != nil {
		return none, err
	}
	own := bytes.Clone(sum)
	for _, first := range firsts {
		if ok, err := m.image.is(int64(first), own); ok || err != nil {
			return first, err
		}
	}
	return none, nil
}

// plan joins blocks to runs.
func (m *maker) plan() *Plan {
	p := &Plan{Blocks: int64(len(m.where))}
	for i, number := range m.where {
		to := int64(i)
		if first, ok := m.again[uint32(i)]; ok {
			p.copy(Self, int64(first), to)
		} else if number != none {
			source, from := m.index.place(number)
			p.copy(source, from, to)
		} else if n := len(p.Missing) - 1; n >= 0 && p.Missing[n].End == to {
			p.Missing[n].End++
		} else {
			p.Missing = append(p.Missing, Range{to, to + 1})
		}
	}
	return p
}

func (p *Plan) copy(source int, from, to int64) {
	if n := len(p.Copies) - 1; n >= 0 {
		c := &p.Copies[n]
		if c.Source == source && c.To.End == to && c.From+c.To.Blocks() == from {
			c.To.End++
			return
		}
	}
	p.Copies = append(p.Copies, Copy{Source: source, From: from, To: Range{to, to + 1}})
}

// MissingBlocks is how many blocks are to be fetched.
func (p *Plan) MissingBlocks() int64 { return count(p.Missing) }

func count(ranges []Range) int64 {
	var n int64
	for _, r := range ranges {
		n += r.Blocks()
	}
	return n
}

// Fetch returns the ranges to ask a server for. Missing ranges are joined over
// gaps of up to gapBlocks; if that leaves more than limit, over the smallest
// gaps that are left until it does not. No limit is 0.
func (p *Plan) Fetch(gapBlocks int64, limit int) Fetch {
	type gap struct{ at, blocks int64 }
	var cuts []gap // before which missing range, and how wide
	for i := 1; i < len(p.Missing); i++ {
		if n := p.Missing[i].First - p.Missing[i-1].End; n > gapBlocks {
			cuts = append(cuts, gap{int64(i), n})
		}
	}
	if limit > 0 && len(cuts) > limit-1 {
		slices.SortStableFunc(cuts, func(a, b gap) int { return cmp.Compare(b.blocks, a.blocks) })
		cuts = cuts[:limit-1]
		slices.SortFunc(cuts, func(a, b gap) int { return cmp.Compare(a.at, b.at) })
	}
	var f Fetch
	for first := int64(0); first < int64(len(p.Missing)); {
		next := int64(len(p.Missing))
		if len(cuts) > 0 {
			next, cuts = cuts[0].at, cuts[1:]
		}
		f.Ranges = append(f.Ranges, Range{p.Missing[first].First, p.Missing[next-1].End})
		first = next
	}
	f.WasteBlocks = count(f.Ranges) - p.MissingBlocks()
	return f
}

// Fetch is what to ask a server for.
type Fetch struct {
	Ranges []Range
	// WasteBlocks are in the ranges and need not be: they fill the gaps.
	WasteBlocks int64
}

// Blocks is how many blocks the ranges have.
func (f Fetch) Blocks() int64 { return count(f.Ranges) }
