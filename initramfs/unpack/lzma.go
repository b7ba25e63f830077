package unpack

// An lzma decodes LZMA (LZMA SDK, lzma-specification) into out, which is its
// dictionary as well.
type lzma struct {
	out  []byte
	dict int // where the dictionary starts in out

	lc, lp, pb uint
	state      int
	rep        [4]int // the last distances, less 1

	isMatch, isRep0Long              [states << 4]prob
	isRep, isRepG0, isRepG1, isRepG2 [states]prob
	literal                          []prob
	slot                             [4][64]prob
	special                          [115]prob
	align                            [16]prob
	matchLen, repLen                 lengths

	// The range coder.
	in        []byte
	rng, code uint32
	overrun   bool
}

const states = 12

// A prob is how probable a 0 is, of 2048.
type prob uint16

type lengths struct {
	choice, choice2 prob
	low, mid        [16][8]prob
	high            [256]prob
}

func fill(probs ...[]prob) {
	for _, p := range probs {
		for i := range p {
			p[i] = 1 << 10
		}
	}
}

func (l *lengths) reset() {
	l.choice, l.choice2 = 1<<10, 1<<10
	for i := range l.low {
		fill(l.low[i][:], l.mid[i][:])
	}
	fill(l.high[:])
}

// setProps reads lc, lp and pb out of one byte.
func (d *lzma) setProps(b byte) bool {
	if b >= 9*5*5 {
		return false
	}
	d.lc, d.lp, d.pb = uint(b%9), uint(b/9%5), uint(b/45)
	if d.lc+d.lp > 4 { // LZMA2's own limit
		return false
	}
	d.literal = make([]prob, 0x300<<(d.lc+d.lp))
	return true
}

func (d *lzma) reset() {
	d.state, d.rep = 0, [4]int{}
	fill(d.isMatch[:], d.isRep0Long[:], d.isRep[:], d.isRepG0[:], d.isRepG1[:], d.isRepG2[:], d.literal, d.special[:], d.align[:])
	for i := range d.slot {
		fill(d.slot[i][:])
	}
	d.matchLen.reset()
	d.repLen.reset()
}

func (d *lzma) bit(p *prob) int {
	if d.rng < 1<<24 {
		d.shift()
	}
	bound := d.rng >> 11 * uint32(*p)
	if d.code < bound {
		d.rng = bound
		*p += (1<<11 - *p) >> 5
		return 0
	}
	d.rng -= bound
	d.code -= bound
	*p -= *p >> 5
	return 1
}

func (d *lzma) shift() {
	d.rng <<= 8
	d.code <<= 8
	if len(d.in) == 0 {
		d.overrun = true
		return
	}
	d.code |= uint32(d.in[0])
	d.in = d.in[1:]
}

// tree decodes a number of so many bits, the highest first.
func (d *lzma) tree(p []prob, bits uint) int {
	n := 1
	for range bits {
		n = n<<1 | d.bit(&p[n])
	}
	return n - 1<<bits
}

// reverse is tree with the lowest bit first.
func (d *lzma) reverse(p []prob, bits uint) (v int) {
	n := 1
	for i := range bits {
		b := d.bit(&p[n])
		n = n<<1 | b
		v |= b << i
	}
	return v
}

// direct decodes bits that are as probable as not.
func (d *lzma) direct(bits uint) (v int) {
	for range bits {
		if d.rng < 1<<24 {
			d.shift()
		}
		d.rng >>= 1
		b := 0
		if d.code >= d.rng {
			d.code -= d.rng
			b = 1
		}
		v = v<<1 | b
	}
	return v
}

func (d *lzma) length(l *lengths, posState int) int {
	if d.bit(&l.choice) == 0 {
		return 2 + d.tree(l.low[posState][:], 3)
	}
	if d.bit(&l.choice2) == 0 {
		return 10 + d.tree(l.mid[posState][:], 3)
	}
	return 18 + d.tree(l.high[:], 8)
}

// decode decodes size bytes out of in.
func (d *lzma) decode(in []byte, size int) error {
	if len(in) < 5 {
		return errDamaged
	}
	d.rng, d.code, d.in, d.overrun = 1<<32-1, uint32(in[1])<<24|uint32(in[2])<<16|uint32(in[3])<<8|uint32(in[4]), in[5:], false
	for end := len(d.out) + size; len(d.out) < end; {
		posState := (len(d.out) - d.dict) & (1<<d.pb - 1)
		if d.bit(&d.isMatch[d.state<<4+posState]) == 0 {
			d.putLiteral()
			continue
		}
		n := d.match(posState)
		if d.overrun || d.rep[0] < 0 || d.rep[0] >= len(d.out)-d.dict || n > end-len(d.out) {
			return errDamaged
		}
		for from := len(d.out) - d.rep[0] - 1; n > 0; n-- {
			d.out = append(d.out, d.out[from])
			from++
		}
	}
	if d.overrun {
		return errDamaged
	}
	return nil
}

func (d *lzma) putLiteral() {
	at, before := len(d.out)-d.dict, 0
	if at > 0 {
		before = int(d.out[len(d.out)-1])
	}
	p := d.literal[0x300*((at&(1<<d.lp-1))<<d.lc+before>>(8-d.lc)):]
	symbol := 1
	if d.state >= 7 && d.rep[0] < at { // after a match: its next byte says what this one is not
		is, offs := int(d.out[len(d.out)-d.rep[0]-1]), 0x100
		for symbol < 0x100 {
			is <<= 1
			bit := is & offs
			if b := d.bit(&p[offs+bit+symbol]); b == 1 {
				symbol, offs = symbol<<1|1, offs&bit
			} else {
				symbol, offs = symbol<<1, offs&^bit
			}
		}
	}
	for symbol < 0x100 {
		symbol = symbol<<1 | d.bit(&p[symbol])
	}
	d.out = append(d.out, byte(symbol))
	switch {
	case d.state < 4:
		d.state = 0
	case d.state < 10:
		d.state -= 3
	default:
		d.state -= 6
	}
}

// match decodes a match into rep[0] and returns its length.
func (d *lzma) match(posState int) int {
	// after is the state for those that follow literals and for others.
	after := func(literal, other int) {
		if d.state < 7 {
			d.state = literal
		} else {
			d.state = other
		}
	}
	if d.bit(&d.isRep[d.state]) == 0 {
		n := d.length(&d.matchLen, posState)
		after(7, 10)
		d.rep = [4]int{d.distance(n), d.rep[0], d.rep[1], d.rep[2]}
		return n
	}
	if d.bit(&d.isRepG0[d.state]) == 0 {
		if d.bit(&d.isRep0Long[d.state<<4+posState]) == 0 {
			after(9, 11)
			return 1
		}
	} else if d.bit(&d.isRepG1[d.state]) == 0 {
		d.rep[0], d.rep[1] = d.rep[1], d.rep[0]
	} else if d.bit(&d.isRepG2[d.state]) == 0 {
		d.rep = [4]int{d.rep[2], d.rep[0], d.rep[1], d.rep[3]}
	} else {
		d.rep = [4]int{d.rep[3], d.rep[0], d.rep[1], d.rep[2]}
	}
	n := d.length(&d.repLen, posState)
	after(8, 11)
	return n
}

func (d *lzma) distance(length int) int {
	slot := d.tree(d.slot[min(length-2, 3)][:], 6)
	if slot < 4 {
		return slot
	}
	bits := uint(slot>>1 - 1)
	dist := (2 | slot&1) << bits
	if slot < 14 {
		return dist + d.reverse(d.special[dist-slot:], bits)
	}
	dist += d.direct(bits-4) << 4
	return dist + d.reverse(d.align[:], 4)
}
