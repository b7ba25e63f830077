package inflate

import (
	"bufio"
	"encoding/binary"
	"io"
)

const (
	window   = 32 << 10 // how far back a match may reach
	maxMatch = 258

	// slackIn is how many bytes one turn of the inner loop may look at, and
	// slackOut how many it may write: a match is copied in words, and so up
	// to 15 bytes too far.
	slackIn  = 16
	slackOut = 3 + maxMatch + 16
)

type state int

const (
	atHeader state = iota // of a block
	inStored
	inCodes
	atEnd
)

// A decoder decodes one deflate stream.
type decoder struct {
	bits   uint64 // read, not yet taken
	n      uint   // how many, below 8 between calls
	state  state
	last   bool
	stored int // bytes left
	tables *tables
	own    tables // of blocks with codes of their own

	// hist is what came before the buffer that is decoded into.
	hist    [window]byte
	histLen int

	lengths [lits + dists]uint8
}

func (d *decoder) reset() {
	d.bits, d.n, d.state, d.last, d.histLen = 0, 0, atHeader, false, 0
}

// decode fills most of p, of at least minRead bytes. It returns an error where
// the stream ends, io.EOF if well.
func (d *decoder) decode(r *bufio.Reader, p []byte) (o int, err error) {
	for err == nil && len(p)-o >= slackOut {
		switch d.state {
		case atHeader:
			err = d.header(r)
		case inStored:
			o, err = d.copyStored(r, p, o)
		case inCodes:
			o, err = d.symbols(r, p, o)
		case atEnd:
			err = io.EOF
		}
	}
	d.remember(p[:o])
	return o, err
}

// remember keeps the end of what was decoded.
func (d *decoder) remember(p []byte) {
	if len(p) >= window {
		d.histLen = copy(d.hist[:], p[len(p)-window:])
		return
	}
	keep := min(d.histLen, window-len(p))
	copy(d.hist[:], d.hist[d.histLen-keep:d.histLen])
	d.histLen = keep + copy(d.hist[keep:], p)
}

func (d *decoder) endBlock() {
	d.state = atHeader
	if d.last {
		d.state = atEnd
	}
}

func (d *decoder) copyStored(r *bufio.Reader, p []byte, o int) (int, error) {
	n, err := io.ReadFull(r, p[o:o+min(d.stored, len(p)-o)])
	if d.stored -= n; d.stored == 0 {
		d.endBlock()
	}
	return o + n, noEOF(err)
}

// symbols decodes some of a block with codes.
func (d *decoder) symbols(r *bufio.Reader, p []byte, o int) (int, error) {
	in, srcErr := r.Peek(max(slackIn, r.Buffered()))
	if len(in) >= slackIn {
		took, o, err := d.run(in, p, o)
		r.Discard(took)
		return o, err
	}
	// The end of the source: zeros stand in for what the inner loop looks at
	// and must not take.
	var tail [3 * slackIn]byte
	have := copy(tail[:], in)
	took, end, err := d.run(tail[:have+2*slackIn-1], p, o)
	if took > have {
		return o, noEOF(srcErr)
	}
	r.Discard(took)
	return end, err
}

// run decodes symbols until the block ends, or in or p do nearly. It returns
// how many bytes of in it took; fewer than 8 bits of them are left in d.
func (d *decoder) run(in, p []byte, o int) (took, end int, err error) {
	lit, dist := &d.tables.lit, &d.tables.dist
	acc, n, pos := d.bits, d.n, 0
	inEnd, outEnd := len(in)-slackIn, len(p)-slackOut
loop:
	for pos <= inEnd && o <= outEnd {
		// At least 56 bits; what is above n is right too and read once more.
		acc |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
		pos += int((63 - n) >> 3)
		n |= 56
		e := lit[acc&(1<<litBits-1)]
		for turn := 0; e&literal != 0; turn++ {
			acc >>= e & takeMask
			n -= uint(e & takeMask)
			p[o] = byte(e >> baseShift)
			o++
			if turn == 2 {
				continue loop
			}
			e = lit[acc&(1<<litBits-1)]
		}
		if e&special != 0 {
			if e&second != 0 {
				acc >>= litBits
				n -= litBits
				e = lit[e.second(acc)&(litRoom-1)]
			}
			switch {
			case e&literal != 0:
				acc >>= e & takeMask
				n -= uint(e & takeMask)
				p[o] = byte(e >> baseShift)
				o++
				continue
			case e&special != 0:
				acc >>= e & takeMask
				n -= uint(e & takeMask)
				if e&blockEnd == 0 {
					err = ErrCorrupt
				} else {
					d.endBlock()
				}
				break loop
			}
		}
		length := e.value(acc)
		acc >>= e & takeMask
		n -= uint(e & takeMask)

		acc |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
		pos += int((63 - n) >> 3)
		n |= 56
		e = dist[acc&(1<<distBits-1)]
		if e&special != 0 {
			if e&second != 0 {
				acc >>= distBits
				n -= distBits
				e = dist[e.second(acc)&(distRoom-1)]
			}
			if e&special != 0 {
				err = ErrCorrupt
				break
			}
		}
		back := e.value(acc)
		acc >>= e & takeMask
		n -= uint(e & takeMask)

		if back > o {
			if !d.copyFar(p[:o+length], o, back) {
				err = ErrCorrupt
				break
			}
		} else {
			copyMatch(p, o, back, length)
		}
		o += length
	}
	// Whole bytes go back.
	pos -= int(n >> 3)
	n &= 7
	d.bits, d.n = acc&(1<<n-1), n
	return pos, o, err
}

// copyMatch copies length bytes to p[o:] from back bytes before, and up to 15
// bytes more.
func copyMatch(p []byte, o, back, length int) {
	from, stop := o-back, o+length
	if back < 8 {
		wide := back
		for wide < 8 {
			wide += back
		}
		for narrow := min(stop, o+wide-back); o < narrow; o++ {
			p[o] = p[o-back]
		}
		from = o - wide
	}
	for o < stop {
		binary.LittleEndian.PutUint64(p[o:], binary.LittleEndian.Uint64(p[from:]))
		binary.LittleEndian.PutUint64(p[o+8:], binary.LittleEndian.Uint64(p[from+8:]))
		o += 16
		from += 16
	}
}

// copyFar copies a match that begins in what came before p into p[o:].
func (d *decoder) copyFar(p []byte, o, back int) bool {
	before := back - o
	if before > d.histLen {
		return false
	}
	at := d.histLen - before
	o += copy(p[o:], d.hist[at:d.histLen])
	for ; o < len(p); o++ {
		p[o] = p[o-back]
	}
	return true
}
