package modules

import (
	"bytes"
	"encoding/binary"
	"errors"
)

var errELF = errors.New("not a little-endian 64-bit ELF file with whole headers")

// section returns the content of a section of an object file. debug/elf would
// link decompressors and debug information into PID 1.
func section(b []byte, name string) ([]byte, error) {
	const (
		headSize, entrySize = 64, 64
		noBits              = 8 // takes no room in the file
	)
	le := binary.LittleEndian
	if len(b) < headSize || string(b[:6]) != "\x7fELF\x02\x01" {
		return nil, errELF
	}
	table, size := le.Uint64(b[40:]), uint64(le.Uint16(b[58:]))
	n, names := uint64(le.Uint16(b[60:])), uint64(le.Uint16(b[62:]))
	if size != entrySize || table > uint64(len(b)) || n*entrySize > uint64(len(b))-table || names >= n {
		return nil, errELF
	}
	content := func(i uint64) ([]byte, bool) {
		h := b[table+i*entrySize:]
		off, length := le.Uint64(h[24:]), le.Uint64(h[32:])
		if le.Uint32(h[4:]) == noBits || off > uint64(len(b)) || length > uint64(len(b))-off {
			return nil, false
		}
		return b[off : off+length], true
	}
	strings, ok := content(names)
	if !ok {
		return nil, errELF
	}
	for i := range n {
		at := uint64(le.Uint32(b[table+i*entrySize:]))
		if at > uint64(len(strings)) || !bytes.HasPrefix(strings[at:], []byte(name+"\x00")) {
			continue
		}
		if data, ok := content(i); ok {
			return data, nil
		}
		return nil, errELF
	}
	return nil, errors.New("no section " + name)
}
