package inflate

import (
	"bufio"
	"io"
)

// take returns the next n bits, up to 16.
func (d *decoder) take(r *bufio.Reader, n uint) (uint, error) {
	for d.n < n {
		b, err := r.ReadByte()
		if err != nil {
			return 0, noEOF(err)
		}
		d.bits |= uint64(b) << d.n
		d.n += 8
	}
	v := uint(d.bits) & (1<<n - 1)
	d.bits >>= n
	d.n -= n
	return v, nil
}

// header reads the header of a block.
func (d *decoder) header(r *bufio.Reader) error {
	v, err := d.take(r, 3)
	if err != nil {
		return err
	}
	d.last = v&1 != 0
	switch v >> 1 {
	case 0:
		return d.storedHeader(r)
	case 1:
		d.tables, d.state = &fixed, inCodes
		return nil
	case 2:
		d.tables, d.state = &d.own, inCodes
		return d.codes(r)
	}
	return ErrCorrupt
}

func (d *decoder) storedHeader(r *bufio.Reader) error {
	d.bits, d.n = 0, 0 // it begins with a whole byte
	var b [4]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return noEOF(err)
	}
	if b[0] != ^b[2] || b[1] != ^b[3] {
		return ErrCorrupt
	}
	d.stored, d.state = int(b[0])|int(b[1])<<8, inStored
	if d.stored == 0 {
		d.endBlock()
	}
	return nil
}

// codeOrder is the order in which the lengths of the code of lengths come.
var codeOrder = [19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// lengthBits is the longest code of a length.
const lengthBits = 7

// lengthMeaning is what the symbols of that code mean: themselves.
var lengthMeaning = func() (m [19]entry) {
	for i := range m {
		m[i] = entry(i) << baseShift
	}
	return m
}()

// codes reads the codes of a block.
func (d *decoder) codes(r *bufio.Reader) error {
	v, err := d.take(r, 14)
	if err != nil {
		return err
	}
	nlit, ndist, ncode := int(v&31)+257, int(v>>5&31)+1, int(v>>10)+4
	if nlit > maxLits || ndist > maxDist {
		return ErrCorrupt
	}
	var lengths [19]uint8
	for _, i := range codeOrder[:ncode] {
		v, err := d.take(r, 3)
		if err != nil {
			return err
		}
		lengths[i] = uint8(v)
	}
	var table [1 << lengthBits]entry
	if !build(table[:], lengthBits, lengths[:], lengthMeaning[:]) {
		return ErrCorrupt
	}
	if err := d.readLengths(r, &table, d.lengths[:nlit+ndist]); err != nil {
		return err
	}
	if !build(d.own.lit[:], litBits, d.lengths[:nlit], litMeaning[:]) ||
		!build(d.own.dist[:], distBits, d.lengths[nlit:nlit+ndist], distMeaning[:]) {
		return ErrCorrupt
	}
	return nil
}

// readLengths reads the lengths of two codes as one list.
func (d *decoder) readLengths(r *bufio.Reader, table *[1 << lengthBits]entry, lengths []uint8) error {
	for i := 0; i < len(lengths); {
		symbol, err := d.symbol(r, table)
		if err != nil {
			return err
		}
		if symbol < 16 {
			lengths[i] = uint8(symbol)
			i++
			continue
		}
		repeat := []struct{ bits, least uint }{{2, 3}, {3, 3}, {7, 11}}[symbol-16]
		more, err := d.take(r, repeat.bits)
		if err != nil {
			return err
		}
		n, value := int(repeat.least+more), uint8(0)
		if symbol == 16 {
			if i == 0 {
				return ErrCorrupt
			}
			value = lengths[i-1]
		}
		if n > len(lengths)-i {
			return ErrCorrupt
		}
		for ; n > 0; n-- {
			lengths[i] = value
			i++
		}
	}
	return nil
}

// symbol decodes one symbol of the code of lengths, a byte at a time, so as
// not to read more than there is.
func (d *decoder) symbol(r *bufio.Reader, table *[1 << lengthBits]entry) (uint, error) {
	for {
		e := table[d.bits&(1<<lengthBits-1)]
		if n := uint(e & takeMask); e != noCode && n <= d.n {
			d.bits >>= n
			d.n -= n
			return uint(e>>baseShift) & baseMask, nil
		}
		if d.n >= lengthBits {
			return 0, ErrCorrupt
		}
		b, err := r.ReadByte()
		if err != nil {
			return 0, noEOF(err)
		}
		d.bits |= uint64(b) << d.n
		d.n += 8
	}
}
