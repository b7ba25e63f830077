package unpack

import (
	"errors"
	"fmt"
)

// Zstd decompresses frames of Zstandard (RFC 8878), one after the other.
//
//	frame header   magic, window, sizes
//	blocks         header, then bytes, one byte to repeat, or literals and sequences
//	checksum       not looked at
func Zstd(b []byte) ([]byte, error) {
	const (
		magic, skipMagic, skipMask = 0xfd2fb528, 0x184d2a50, ^uint32(15)
		checksum                   = 4 // bytes; also the flag
	)
	var out []byte
	for {
		switch {
		case len(b) == 0 && out != nil:
			return out, nil
		case len(b) < 8:
			return nil, errDamaged
		case le.Uint32(b)&skipMask == skipMagic:
			n := int(le.Uint32(b[4:]))
			if len(b)-8 < n {
				return nil, errDamaged
			}
			b = b[8+n:]
			continue
		case le.Uint32(b) != magic:
			return nil, errDamaged
		}
		flags := b[4]
		n, err := frameHeader(b[4:])
		if err != nil {
			return nil, err
		}
		f := frame{out: out, start: len(out), offsets: [3]int{1, 4, 8}}
		used, err := f.blocks(b[4+n:])
		if err != nil {
			return nil, err
		}
		out, b = f.out, b[4+n+used:]
		if flags&checksum != 0 {
			if len(b) < checksum {
				return nil, errDamaged
			}
			b = b[checksum:]
		}
		if out == nil {
			out = []byte{}
		}
	}
}

// frameHeader returns how long it is.
func frameHeader(b []byte) (int, error) {
	const single, reserved = 0x20, 8
	flags := b[0]
	n := 1 + []int{0, 1, 2, 4}[flags&3] + []int{0, 2, 4, 8}[flags>>6]
	if flags&single == 0 || flags>>6 == 0 { // the window's size, or one byte for the content's
		n++
	}
	if flags&reserved != 0 || len(b) < n {
		return 0, errDamaged
	}
	if flags&3 != 0 {
		return 0, errors.New("it needs a dictionary")
	}
	return n, nil
}

// A frame is what one block leaves to the next.
type frame struct {
	out     []byte
	start   int
	offsets [3]int // the last three
	huffman huffman
	tables  [3]fse // of literal lengths, offsets, match lengths
}

// maxBlock is what one block may decompress to.
const maxBlock = 128 << 10

// blocks decodes blocks to the last one, and returns how long they are.
func (f *frame) blocks(b []byte) (int, error) {
	const raw, repeated, compressed = 0, 1, 2
	for at := 0; ; {
		if len(b) < at+3 {
			return 0, errDamaged
		}
		head := int(b[at]) | int(b[at+1])<<8 | int(b[at+2])<<16
		kind, size, n := head>>1&3, head>>3, head>>3
		at += 3
		if kind == repeated {
			n = 1
		}
		if size > maxBlock || len(b) < at+n {
			return 0, errDamaged
		}
		if len(f.out)+maxBlock > MaxBytes {
			return 0, errLarge
		}
		switch kind {
		case raw:
			f.out = append(f.out, b[at:at+n]...)
		case repeated:
			for range size {
				f.out = append(f.out, b[at])
			}
		case compressed:
			literals, rest, err := f.literals(b[at : at+n])
			if err == nil {
				err = f.sequences(literals, rest)
			}
			if err != nil {
				return 0, err
			}
		default:
			return 0, errDamaged
		}
		if at += n; head&1 != 0 {
			return at, nil
		}
	}
}

// literals decodes the literals of a block, and returns what comes behind.
func (f *frame) literals(b []byte) (literals, rest []byte, err error) {
	const raw, repeated, compressed = 0, 1, 2
	head := 0 // of one byte to five
	for i, c := range b[:min(5, len(b))] {
		head |= int(c) << (8 * i)
	}
	kind, format := head&3, head>>2&3
	if kind < compressed {
		n, size := 1, head>>3&0x1f
		switch format {
		case 1:
			n, size = 2, head>>4&0xfff
		case 3:
			n, size = 3, head>>4&0xfffff
		}
		have := size
		if kind == repeated {
			have = 1
		}
		if size > maxBlock || len(b) < n+have {
			return nil, nil, errDamaged
		}
		if kind == raw {
			return b[n : n+size], b[n+size:], nil
		}
		literals = make([]byte, size)
		for i := range literals {
			literals[i] = b[n]
		}
		return literals, b[n+1:], nil
	}
	bits := []int{10, 10, 14, 18}[format]
	n := (4 + 2*bits + 7) / 8
	size, packed := head>>4&(1<<bits-1), head>>(4+bits)&(1<<bits-1)
	if size > maxBlock || len(b) < n+packed {
		return nil, nil, errDamaged
	}
	in, rest := b[n:n+packed], b[n+packed:]
	if kind == compressed {
		if in, err = f.huffman.read(in); err != nil {
			return nil, nil, err
		}
	}
	literals, err = f.huffman.decode(in, size, format != 0)
	return literals, rest, err
}

// What literal lengths and match lengths add to the least that their code
// stands for: so many bits. The least is that of the code before and all its
// bits can say.
var (
	literalBits = []uint8{16: 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	matchBits   = []uint8{32: 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	literalBase = bases(0, literalBits)
	matchBase   = bases(3, matchBits)
)

func bases(least int, bits []uint8) []int {
	base := make([]int, len(bits))
	for i, n := range bits {
		base[i] = least
		least += 1 << n
	}
	return base
}

// The tables of a block that brings none (RFC 8878, 3.1.1.3.2.2), how large
// others may be, and how many codes there are.
var tableKinds = [3]struct {
	usual     []int
	accuracy  int
	max, size int
}{
	{[]int{4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1}, 6, 9, 36},
	{[]int{1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1}, 5, 8, 32},
	{[]int{1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		-1, -1, -1, -1, -1, -1, -1}, 6, 9, 53},
}

// readTables brings the three tables to what the block says.
func (f *frame) readTables(modes byte, b []byte) (rest []byte, err error) {
	const usual, single, own = 0, 1, 2
	for i, k := range tableKinds {
		t := &f.tables[i]
		switch modes >> (6 - 2*i) & 3 {
		case usual:
			*t = newFSE(k.usual, k.accuracy)
		case single:
			if len(b) == 0 || int(b[0]) >= k.size {
				return nil, errDamaged
			}
			*t, b = fse{states: []state{{symbol: b[0]}}}, b[1:]
		case own:
			if *t, b, err = readFSE(b, k.max, k.size); err != nil {
				return nil, err
			}
		}
		if t.states == nil {
			return nil, errDamaged
		}
	}
	return b, nil
}

// sequences decodes the sequences of a block and carries them out.
func (f *frame) sequences(literals, b []byte) error {
	if len(b) == 0 {
		return errDamaged
	}
	n := int(b[0])
	switch b = b[1:]; {
	case n == 0:
		f.out = append(f.out, literals...)
		return nil
	case n == 255 && len(b) >= 2:
		n, b = int(le.Uint16(b))+0x7f00, b[2:]
	case n >= 128 && len(b) >= 1:
		n, b = (n-128)<<8+int(b[0]), b[1:]
	}
	if len(b) == 0 {
		return errDamaged
	}
	b, err := f.readTables(b[0], b[1:])
	if err != nil {
		return err
	}
	r, err := newBackward(b)
	if err != nil {
		return err
	}
	end := len(f.out) + maxBlock
	var s [3]state
	for i, t := range f.tables {
		s[i] = t.states[r.bits(t.accuracy)]
	}
	for ; n > 0; n-- {
		value := 1<<s[1].symbol + r.bits(int(s[1].symbol))
		match := matchBase[s[2].symbol] + r.bits(int(matchBits[s[2].symbol]))
		lits := literalBase[s[0].symbol] + r.bits(int(literalBits[s[0].symbol]))
		offset := f.offset(value, lits)
		if r.left < 0 || lits > len(literals) || len(f.out)+lits+match > end || offset < 1 || offset > len(f.out)+lits-f.start {
			return errDamaged
		}
		f.out, literals = append(f.out, literals[:lits]...), literals[lits:]
		for from := len(f.out) - offset; match > 0; match-- {
			f.out = append(f.out, f.out[from])
			from++
		}
		if n == 1 {
			break
		}
		for _, i := range []int{0, 2, 1} {
			s[i] = f.tables[i].states[int(s[i].base)+r.bits(int(s[i].bits))]
		}
	}
	if r.left != 0 || len(f.out)+len(literals) > end {
		return fmt.Errorf("%w: %d bits too many", errDamaged, r.left)
	}
	f.out = append(f.out, literals...)
	return nil
}

// offset returns the offset that a value stands for: of the first three, one
// of the last ones.
func (f *frame) offset(value, literals int) int {
	o := &f.offsets
	if value > 3 {
		*o = [3]int{value - 3, o[0], o[1]}
		return o[0]
	}
	if literals == 0 {
		value++
	}
	switch value {
	case 2:
		*o = [3]int{o[1], o[0], o[2]}
	case 3:
		*o = [3]int{o[2], o[0], o[1]}
	case 4:
		*o = [3]int{o[0] - 1, o[0], o[1]}
	}
	return o[0]
}
