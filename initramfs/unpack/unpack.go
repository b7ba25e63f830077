// Package unpack decompresses kernel modules: .ko.xz, .ko.zst and .ko.gz. It is
// for PID 1, where libraries that stream, compress and use many threads would be
// a tenth of the program. Whole files in memory go in and come out. What it reads
// was verified before, block by block, so of checksums only CRC-32 is looked at;
// but no input makes it panic, or give more than MaxBytes.
package unpack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// MaxBytes is the most that a file may decompress to. The largest module of a
// Debian kernel has 10 MB.
const MaxBytes = 64 << 20

var (
	errDamaged = errors.New("the compressed data is damaged")
	errLarge   = fmt.Errorf("it has more than %d bytes", MaxBytes)
)

var le = binary.LittleEndian

// File returns the content of the named file, which its name says how it is
// compressed.
func File(name string, b []byte) (out []byte, err error) {
	switch {
	case strings.HasSuffix(name, ".xz"):
		out, err = XZ(b)
	case strings.HasSuffix(name, ".zst"):
		out, err = Zstd(b)
	case strings.HasSuffix(name, ".gz"):
		out, err = Gzip(b)
	default:
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	return out, nil
}
