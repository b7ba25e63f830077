package unpack

import (
	"bytes"
	"errors"
	"hash/crc32"
)

// XZ decompresses a .xz file of one stream whose only filter is LZMA2, which is
// what xz writes when it is not told otherwise.
//
//	stream header   6 bytes magic, 2 of flags: the kind of check, their CRC32
//	blocks          header with sizes and filters, chunks of LZMA2, to 4 bytes, check
//	index, footer   what the blocks were: not needed to read forward
func XZ(b []byte) ([]byte, error) {
	const head = 12
	if len(b) < head || !bytes.HasPrefix(b, []byte("\xfd7zXZ\x00")) || b[6] != 0 || crc32.ChecksumIEEE(b[6:8]) != le.Uint32(b[8:]) {
		return nil, errDamaged
	}
	check := b[7] & 15
	// xz-file-format 2.1.1.2: the sizes of checks by their number.
	checkSize := []int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}[check]
	d := &lzma{}
	for b = b[head:]; ; {
		if len(b) == 0 {
			return nil, errDamaged
		}
		if b[0] == 0 { // the index
			return d.out, nil
		}
		header := (int(b[0]) + 1) * 4
		if len(b) < header || crc32.ChecksumIEEE(b[:header-4]) != le.Uint32(b[header-4:]) {
			return nil, errDamaged
		}
		if err := onlyLZMA2(b[1 : header-4]); err != nil {
			return nil, err
		}
		start := len(d.out)
		n, err := d.chunks(b[header:])
		if err != nil {
			return nil, err
		}
		n = header + (n+3)&^3
		if len(b) < n+checkSize || check == 1 && crc32.ChecksumIEEE(d.out[start:]) != le.Uint32(b[n:]) {
			return nil, errDamaged
		}
		b = b[n+checkSize:]
	}
}

// onlyLZMA2 reads a block header, from its flags on.
func onlyLZMA2(h []byte) error {
	const (
		moreFilters, packedSize, size = 3, 0x40, 0x80
		lzma2                         = 0x21
	)
	flags, at := h[0], 1
	for _, has := range []byte{packedSize, size} {
		if flags&has == 0 {
			continue
		}
		for at < len(h) && h[at] >= 0x80 {
			at++
		}
		at++
	}
	if at >= len(h) {
		return errDamaged
	}
	if flags&moreFilters != 0 || h[at] != lzma2 {
		return errors.New("it has a filter besides LZMA2")
	}
	return nil
}

// chunks decodes chunks of LZMA2 up to the one that ends them, and returns how
// many bytes they take.
func (d *lzma) chunks(b []byte) (int, error) {
	const (
		end, resetAll, plain = 0, 1, 2
		packed               = 0x80
		resetState           = 1 // in the two bits above the size; more is reset with each
		resetProps           = 2
		resetDict            = 3
	)
	for at := 0; ; {
		if at >= len(b) {
			return 0, errDamaged
		}
		control := b[at]
		if control == end {
			return at + 1, nil
		}
		if control > plain && control < packed || len(b) < at+6 {
			return 0, errDamaged
		}
		size := int(b[at+1])<<8 + int(b[at+2]) + 1
		if control < packed {
			at += 3
			if control == resetAll {
				d.dict = len(d.out)
			}
			if len(b) < at+size || len(d.out)+size > MaxBytes {
				return 0, errDamaged
			}
			d.out = append(d.out, b[at:at+size]...)
			at += size
			continue
		}
		size += int(control&0x1f) << 16
		n := int(b[at+3])<<8 + int(b[at+4]) + 1
		reset := control >> 5 & 3
		at += 5
		if reset == resetDict {
			d.dict = len(d.out)
		}
		if reset >= resetProps {
			if !d.setProps(b[at]) {
				return 0, errDamaged
			}
			at++
		}
		if reset >= resetState {
			d.reset()
		}
		if d.literal == nil || len(b) < at+n {
			return 0, errDamaged
		}
		if len(d.out)+size > MaxBytes {
			return 0, errLarge
		}
		if err := d.decode(b[at:at+n], size); err != nil {
			return 0, err
		}
		at += n
	}
}
