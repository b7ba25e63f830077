package inflate

import "math/bits"

// Bits by which the first table of a code is looked up; what is longer goes on
// in a second one behind it.
const (
	litBits  = 11
	distBits = 9
)

// Room for all tables of a code, a power of two so that masked indices need no
// check: a full code of 288 symbols of up to 15 bits takes 2342 entries.
const (
	litRoom  = 4096
	distRoom = 1024
)

// An entry says what some bits of input mean:
//
//	bits 0-5    how many to take, extra bits of a length or distance included
//	bits 8-12   how many of them are the code; for a second table: bits of its index
//	bit 13      the block ends
//	bit 14      a second table
//	bit 15      one of these two or, with neither, no code at all
//	bits 16-30  the literal, the least length or distance, or where the second table begins
//	bit 31      a literal
//
// A zero entry would take no bits; what is no code is noCode.
type entry uint32

const (
	literal   = 1 << 31
	special   = 1 << 15
	second    = 1 << 14
	blockEnd  = 1 << 13
	noCode    = special
	takeMask  = 63
	codeShift = 8
	codeMask  = 31
	baseShift = 16
	baseMask  = 1<<15 - 1
)

// second is where an entry of a second table stands, for bits of input behind
// those that led to it.
func (e entry) second(acc uint64) uint32 {
	return uint32(e)>>baseShift + uint32(acc)&(1<<(e>>codeShift&codeMask)-1)
}

// value is a length or distance, for bits of input that begin with its code.
func (e entry) value(acc uint64) int {
	return int(e>>baseShift) + int(acc&(1<<(e&takeMask)-1)>>(e>>codeShift&codeMask))
}

const (
	maxCode = 15 // bits
	maxLits = 286
	maxDist = 30
	lits    = 288 // with two that only a fixed code has, and that mean nothing
	dists   = 32
)

// What symbols mean, without the bits of their codes.
var (
	litMeaning  [lits]entry
	distMeaning [dists]entry
	fixed       tables
)

type tables struct {
	lit  [litRoom]entry
	dist [distRoom]entry
}

func init() {
	for i := range 256 {
		litMeaning[i] = literal | entry(i)<<baseShift
	}
	litMeaning[256] = special | blockEnd
	base := 3
	for i := 257; i < 285; i++ {
		extra := max(0, (i-261)/4)
		litMeaning[i] = entry(base)<<baseShift | entry(extra)
		base += 1 << extra
	}
	litMeaning[285] = 258 << baseShift
	litMeaning[286], litMeaning[287] = noCode, noCode
	base = 1
	for i := range maxDist {
		extra := max(0, (i-2)/2)
		distMeaning[i] = entry(base)<<baseShift | entry(extra)
		base += 1 << extra
	}
	distMeaning[30], distMeaning[31] = noCode, noCode

	var lengths [lits]uint8
	for i := range lengths {
		switch {
		case i < 144, i >= 280:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		default:
			lengths[i] = 7
		}
	}
	build(fixed.lit[:], litBits, lengths[:], litMeaning[:])
	for i := range dists {
		lengths[i] = 5
	}
	build(fixed.dist[:], distBits, lengths[:dists], distMeaning[:])
}

// build fills a table for the code whose symbols have these lengths. It says
// whether they make a code: one that uses all words of bits up, or that has a
// single word of one bit, or none.
func build(table []entry, root uint, lengths []uint8, meaning []entry) bool {
	var count [maxCode + 1]int
	for _, n := range lengths {
		count[n]++
	}
	used := len(lengths) - count[0]
	count[0] = 0
	var at [maxCode + 2]int // of the next symbol of each length
	code, longest := 0, uint(0)
	for n := 1; n <= maxCode; n++ {
		code = code<<1 + count[n]
		at[n+1] = at[n] + count[n]
		if count[n] > 0 {
			longest = uint(n)
		}
		if code > 1<<n {
			return false
		}
	}
	if full := code == 1<<maxCode; !full {
		for i := range table[:1<<root] {
			table[i] = noCode
		}
		if used == 0 {
			return true
		}
		if used > 1 || longest != 1 {
			return false
		}
	}
	var sorted [lits]uint16
	for symbol, n := range lengths {
		if n > 0 {
			sorted[at[n]] = uint16(symbol)
			at[n]++
		}
	}
	fill(table, root, lengths, meaning, sorted[:used])
	return true
}

// fill enters the symbols, the shortest first.
func fill(table []entry, root uint, lengths []uint8, meaning []entry, sorted []uint16) {
	code, size := uint(0), uint(0) // of the symbol before
	start, end, width, prefix := 0, 1<<root, uint(0), ^uint(0)
	for i, symbol := range sorted {
		n := uint(lengths[symbol])
		code <<= n - size
		size = n
		word := uint(bits.Reverse16(uint16(code))) >> (16 - n)
		e := meaning[symbol]
		if n <= root {
			e += entry(n) | entry(n)<<codeShift
			for j := word; j < 1<<root; j += 1 << n {
				table[j] = e
			}
			code++
			continue
		}
		if word&(1<<root-1) != prefix {
			prefix = word & (1<<root - 1)
			start, width = end, secondWidth(root, code, lengths, sorted[i:])
			end += 1 << width
			table[prefix] = special | second | entry(start)<<baseShift | entry(width)<<codeShift | entry(root)
		}
		e += entry(n-root) | entry(n-root)<<codeShift
		for j := word >> root; j < 1<<width; j += 1 << (n - root) {
			table[start+int(j)] = e
		}
		code++
	}
}

// secondWidth returns the bits of the index of the second table for the first
// of these symbols, which has this code, and those that share its first bits.
func secondWidth(root, code uint, lengths []uint8, sorted []uint16) uint {
	size := uint(lengths[sorted[0]])
	prefix := code >> (size - root)
	for _, symbol := range sorted {
		n := uint(lengths[symbol])
		code <<= n - size
		if code>>(n-root) != prefix {
			break
		}
		size = n
		code++
	}
	return size - root
}
