package unpack

import (
	"bytes"
	"hash/crc32"
)

// Gzip decompresses a gzip file of one member (RFC 1952).
func Gzip(b []byte) ([]byte, error) {
	const (
		head, tail                   = 10, 8
		headCRC, extra, name, remark = 2, 4, 8, 16 // flags
	)
	if len(b) < head || b[0] != 0x1f || b[1] != 0x8b || b[2] != 8 {
		return nil, errDamaged
	}
	flags := b[3]
	b = b[head:]
	if flags&extra != 0 {
		if len(b) < 2 || len(b) < 2+int(le.Uint16(b)) {
			return nil, errDamaged
		}
		b = b[2+int(le.Uint16(b)):]
	}
	for _, has := range []byte{name, remark} {
		if flags&has != 0 {
			b = b[bytes.IndexByte(b, 0)+1:]
		}
	}
	if flags&headCRC != 0 {
		b = b[min(2, len(b)):]
	}
	f := inflater{in: b}
	if err := f.blocks(); err != nil {
		return nil, err
	}
	if len(f.in) < tail || le.Uint32(f.in) != crc32.ChecksumIEEE(f.out) {
		return nil, errDamaged
	}
	return f.out, nil
}

// An inflater decodes DEFLATE (RFC 1951).
type inflater struct {
	in, out []byte
	held    uint64 // bits that were taken from in, the lowest first
	n       int
}

// bits reads a number; past the end there are zeros, and n is negative.
func (f *inflater) bits(n int) int {
	for f.n < n && len(f.in) > 0 {
		f.held |= uint64(f.in[0]) << f.n
		f.in = f.in[1:]
		f.n += 8
	}
	v := int(f.held & (1<<n - 1))
	f.held >>= n
	f.n -= n
	return v
}

// A code is a canonical Huffman code: how many codes of each length there are,
// and their symbols in order.
type code struct {
	counts  [16]int
	symbols []int
}

func newCode(lengths []uint8) code {
	var c code
	for want := 1; want < len(c.counts); want++ {
		for s, n := range lengths {
			if int(n) == want {
				c.counts[want]++
				c.symbols = append(c.symbols, s)
			}
		}
	}
	return c
}

// symbol decodes one symbol, or -1.
func (f *inflater) symbol(c *code) int {
	value, first, index := 0, 0, 0
	for _, n := range c.counts[1:] {
		value |= f.bits(1)
		if f.n < 0 {
			return -1
		}
		if value-n < first {
			return c.symbols[index+value-first]
		}
		index += n
		first = (first + n) << 1
		value <<= 1
	}
	return -1
}

func (f *inflater) blocks() error {
	const stored, fixed, dynamic = 0, 1, 2
	for {
		last := f.bits(1)
		var err error
		switch f.bits(2) {
		case stored:
			err = f.stored()
		case fixed:
			var lengths [288]uint8
			for i := range lengths {
				lengths[i] = 8
				if i >= 144 && i < 256 {
					lengths[i] = 9
				} else if i >= 256 && i < 280 {
					lengths[i] = 7
				}
			}
			var distances [30]uint8
			for i := range distances {
				distances[i] = 5
			}
			err = f.coded(newCode(lengths[:]), newCode(distances[:]))
		case dynamic:
			err = f.dynamic()
		default:
			err = errDamaged
		}
		if err != nil {
			return err
		}
		if last == 1 {
			f.unread()
			return nil
		}
	}
}

// unread drops the bits up to the next byte.
func (f *inflater) unread() {
	// Whole bytes are never held: bits takes one only when it needs it.
	f.held, f.n = 0, 0
}

func (f *inflater) stored() error {
	f.unread()
	if len(f.in) < 4 {
		return errDamaged
	}
	n := int(le.Uint16(f.in))
	if le.Uint16(f.in)^le.Uint16(f.in[2:]) != 0xffff || len(f.in)-4 < n {
		return errDamaged
	}
	if len(f.out)+n > MaxBytes {
		return errLarge
	}
	f.out, f.in = append(f.out, f.in[4:4+n]...), f.in[4+n:]
	return nil
}

// dynamic reads the codes of a block, which are coded themselves, and the block.
func (f *inflater) dynamic() error {
	const again, zeros, manyZeros = 16, 17, 18
	literals, distances, n := f.bits(5)+257, f.bits(5)+1, f.bits(4)+4
	var own [19]uint8
	for _, i := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}[:n] {
		own[i] = uint8(f.bits(3))
	}
	c := newCode(own[:])
	var lengths []uint8
	for len(lengths) < literals+distances {
		s := f.symbol(&c)
		length, repeat := uint8(0), 1
		switch {
		case s < 0:
			return errDamaged
		case s < again:
			length = uint8(s)
		case s == again:
			if len(lengths) == 0 {
				return errDamaged
			}
			length, repeat = lengths[len(lengths)-1], 3+f.bits(2)
		case s == zeros:
			repeat = 3 + f.bits(3)
		case s == manyZeros:
			repeat = 11 + f.bits(7)
		}
		for range repeat {
			lengths = append(lengths, length)
		}
	}
	if len(lengths) > literals+distances {
		return errDamaged
	}
	return f.coded(newCode(lengths[:literals]), newCode(lengths[literals:]))
}

// What lengths and distances add to the least that their code stands for, see
// literalBits; the length of the last code is an exception.
var (
	lengthBits   = []uint8{8: 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5}
	lengthBase   = bases(3, lengthBits)
	distanceBits = []uint8{4: 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
	distanceBase = bases(1, distanceBits)
)

func (f *inflater) coded(literals, distances code) error {
	const end, longest = 256, 285
	for {
		s := f.symbol(&literals)
		if len(f.out) >= MaxBytes {
			return errLarge
		}
		switch {
		case s < 0 || s > longest:
			return errDamaged
		case s < end:
			f.out = append(f.out, byte(s))
			continue
		case s == end:
			return nil
		}
		n := 258
		if s -= end + 1; s < len(lengthBits) {
			n = lengthBase[s] + f.bits(int(lengthBits[s]))
		}
		d := f.symbol(&distances)
		if d < 0 || d >= len(distanceBits) {
			return errDamaged
		}
		dist := distanceBase[d] + f.bits(int(distanceBits[d]))
		if f.n < 0 || dist > len(f.out) {
			return errDamaged
		}
		for from := len(f.out) - dist; n > 0; n-- {
			f.out = append(f.out, f.out[from])
			from++
		}
	}
}
