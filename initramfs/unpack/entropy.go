package unpack

import "math/bits"

// A backward reads bits from the end of a buffer to its start. The highest bit
// that is set only marks where they begin.
type backward struct {
	b    []byte
	left int // bits; negative when more were read than there are, as zeros
}

func newBackward(b []byte) (backward, error) {
	if len(b) == 0 || b[len(b)-1] == 0 {
		return backward{}, errDamaged
	}
	return backward{b, 8*len(b) - 9 + bits.Len8(b[len(b)-1])}, nil
}

func (r *backward) bits(n int) int {
	r.left -= n
	return r.at(r.left, n)
}

// at returns n bits that start at bit off.
func (r *backward) at(off, n int) int {
	if off < 0 {
		return r.at(0, max(n+off, 0)) << min(-off, n)
	}
	var v uint64
	if i := off >> 3; i+8 <= len(r.b) {
		v = le.Uint64(r.b[i:])
	} else {
		for k := len(r.b) - 1; k >= i; k-- {
			v = v<<8 | uint64(r.b[k])
		}
	}
	return int(v >> (off & 7) & (1<<n - 1))
}

// An fse is a table of finite state entropy.
type fse struct {
	accuracy int
	states   []state
}

type state struct {
	symbol, bits uint8
	base         uint16
}

// newFSE makes the table of normalized counts; -1 is less than one.
func newFSE(counts []int, accuracy int) fse {
	size := 1 << accuracy
	t := fse{accuracy, make([]state, size)}
	next, high := make([]int, len(counts)), size
	for s, n := range counts {
		if next[s] = n; n == -1 {
			high--
			t.states[high].symbol, next[s] = uint8(s), 1
		}
	}
	step, pos := size>>1+size>>3+3, 0
	for s, n := range counts {
		for range n {
			t.states[pos].symbol = uint8(s)
			for pos = (pos + step) & (size - 1); pos >= high; pos = (pos + step) & (size - 1) {
			}
		}
	}
	for i := range t.states {
		st := &t.states[i]
		n := next[st.symbol]
		next[st.symbol]++
		st.bits = uint8(accuracy + 1 - bits.Len(uint(n)))
		st.base = uint16(n<<st.bits - size)
	}
	return t
}

// readFSE reads a table for fewer than symbols.
func readFSE(b []byte, maxAccuracy, symbols int) (t fse, rest []byte, err error) {
	at := 0 // bit
	r := backward{b: b}
	read := func(n int) int {
		at += n
		return r.at(at-n, n)
	}
	accuracy := read(4) + 5
	if accuracy > maxAccuracy {
		return t, nil, errDamaged
	}
	var counts []int
	for left := 1 << accuracy; left > 0; {
		if at > 8*len(b) || len(counts) >= symbols {
			return t, nil, errDamaged
		}
		// Small values take a bit less.
		n := bits.Len(uint(left + 1))
		v := read(n)
		low, less := v&(1<<(n-1)-1), 1<<n-1-(left+1)
		if low < less {
			at--
			v = low
		} else if v >= 1<<(n-1) {
			v -= less
		}
		counts = append(counts, v-1)
		if v == 0 {
			left--
			continue
		}
		left -= v - 1
		for v == 1 { // zeros come with how many more follow
			more := read(2)
			if len(counts)+more > symbols {
				return t, nil, errDamaged
			}
			counts = append(counts, make([]int, more)...)
			if more != 3 {
				break
			}
		}
	}
	used := (at + 7) / 8
	if used > len(b) {
		return t, nil, errDamaged
	}
	return newFSE(counts, accuracy), b[used:], nil
}

// A huffman is a table of a Huffman code: what the next bits say, and how many
// of them say it.
type huffman struct {
	bits  int
	table []struct{ symbol, bits uint8 }
}

const maxHuffmanBits = 11

// read reads the table's description and returns what comes behind.
func (h *huffman) read(b []byte) (rest []byte, err error) {
	if len(b) == 0 {
		return nil, errDamaged
	}
	var weights []uint8
	n := int(b[0])
	if b = b[1:]; n < 128 {
		if len(b) < n {
			return nil, errDamaged
		}
		if weights, err = readWeights(b[:n]); err != nil {
			return nil, err
		}
		b = b[n:]
	} else {
		n -= 127
		if len(b) < (n+1)/2 {
			return nil, errDamaged
		}
		for i := range n {
			weights = append(weights, b[i/2]>>(4-i%2*4)&15)
		}
		b = b[(n+1)/2:]
	}
	return b, h.build(weights)
}

// readWeights decodes weights that two states in turn stand for, until no bits
// are left.
func readWeights(b []byte) (weights []uint8, err error) {
	t, b, err := readFSE(b, 6, maxHuffmanBits+2)
	if err != nil {
		return nil, err
	}
	r, err := newBackward(b)
	if err != nil {
		return nil, err
	}
	s := [2]state{t.states[r.bits(t.accuracy)], t.states[r.bits(t.accuracy)]}
	for i := 0; len(weights) < 254; i ^= 1 {
		weights = append(weights, s[i].symbol)
		bits := r.bits(int(s[i].bits))
		if r.left < 0 {
			return append(weights, s[i^1].symbol), nil
		}
		s[i] = t.states[int(s[i].base)+bits]
	}
	return nil, errDamaged
}

// build makes the table. The last symbol's weight is what the others leave.
func (h *huffman) build(weights []uint8) error {
	sum := 0
	for _, w := range weights {
		if w > maxHuffmanBits {
			return errDamaged
		}
		sum += 1 << w >> 1
	}
	if sum == 0 {
		return errDamaged
	}
	h.bits = bits.Len(uint(sum))
	left := 1<<h.bits - sum
	if h.bits > maxHuffmanBits || left&(left-1) != 0 {
		return errDamaged
	}
	weights = append(weights, uint8(bits.Len(uint(left))))
	h.table = h.table[:0]
	for w := 1; w <= h.bits; w++ {
		for s, have := range weights {
			if int(have) != w {
				continue
			}
			for range 1 << w >> 1 {
				h.table = append(h.table, struct{ symbol, bits uint8 }{uint8(s), uint8(h.bits + 1 - w)})
			}
		}
	}
	if len(h.table) != 1<<h.bits {
		return errDamaged
	}
	return nil
}

// decode decodes size literals, out of one stream or four.
func (h *huffman) decode(b []byte, size int, four bool) ([]byte, error) {
	if h.table == nil {
		return nil, errDamaged
	}
	out := make([]byte, 0, size)
	if !four {
		return h.stream(out, b, size)
	}
	if len(b) < 6 {
		return nil, errDamaged
	}
	sizes, b := b[:6], b[6:]
	for i := range 4 {
		n, want := len(b), (size+3)/4
		if i < 3 {
			n = int(le.Uint16(sizes[2*i:]))
		} else {
			want = size - len(out)
		}
		if n > len(b) || want < 0 || len(out)+want > size {
			return nil, errDamaged
		}
		var err error
		if out, err = h.stream(out, b[:n], want); err != nil {
			return nil, err
		}
		b = b[n:]
	}
	return out, nil
}

func (h *huffman) stream(out, b []byte, size int) ([]byte, error) {
	r, err := newBackward(b)
	if err != nil {
		return nil, err
	}
	for range size {
		e := h.table[r.at(r.left-h.bits, h.bits)]
		out = append(out, e.symbol)
		if r.left -= int(e.bits); r.left < 0 {
			return nil, errDamaged
		}
	}
	if r.left != 0 {
		return nil, errDamaged
	}
	return out, nil
}
