package esp

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
)

// An entry is one of a folder.
type entry struct {
	name  string
	dir   bool
	first uint32
	size  int64
}

// entries reads a folder. A long name counts when its pieces are all there
// and belong to the short name after them.
func entries(b []byte) (list []entry) {
	var long []uint16
	var sum byte
	for ; len(b) >= entrySize && b[0] != 0; b = b[entrySize:] {
		e, le := b[:entrySize], binary.LittleEndian
		switch {
		case e[0] == 0xe5:
			long = nil
		case e[11]&0x3f == 0x0f:
			if e[0]&0x40 != 0 {
				long, sum = nil, e[13]
			}
			if e[13] == sum {
				long = append(piece(e), long...)
			}
		case e[11]&0x08 != 0:
			long = nil
		default:
			n := entry{name: short(e), dir: e[11]&0x10 != 0, size: int64(le.Uint32(e[28:]))}
			n.first = uint32(le.Uint16(e[20:]))<<16 | uint32(le.Uint16(e[26:]))
			if len(long) > 0 && checksum(e) == sum {
				n.name, _, _ = strings.Cut(string(utf16.Decode(long)), "\x00")
				n.name = strings.TrimRight(n.name, "\uffff")
			}
			list, long = append(list, n), nil
		}
	}
	return list
}

func piece(e []byte) (u []uint16) {
	for _, i := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
		u = append(u, binary.LittleEndian.Uint16(e[i:]))
	}
	return u
}

func short(e []byte) string {
	name, ext := strings.TrimRight(string(e[:8]), " "), strings.TrimRight(string(e[8:11]), " ")
	if ext == "" {
		return name
	}
	return name + "." + ext
}

func checksum(e []byte) (sum byte) {
	for _, c := range e[:11] {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}
