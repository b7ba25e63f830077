// Package unpack decompresses kernel modules: .ko.xz, .ko.zst and .ko.gz. Whole
// files in memory go in and come out, on the goroutine that asks, as suits PID 1.
package unpack

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// MaxBytes is the most that a file may decompress to. The largest module of a
// Debian kernel has 10 MB.
const MaxBytes = 64 << 20

// maxWindow is the most that a frame of zstd may look back; -19 makes 8 MiB.
const maxWindow = 32 << 20

var errLarge = fmt.Errorf("it has more than %d bytes", MaxBytes)

// File returns the content of the named file, which its name says how it is
// compressed.
func File(name string, packed []byte) (content []byte, err error) {
	switch {
	case strings.HasSuffix(name, ".xz"):
		content, err = unXZ(packed)
	case strings.HasSuffix(name, ".zst"):
		content, err = unZstd(packed)
	case strings.HasSuffix(name, ".gz"):
		content, err = unGzip(packed)
	default:
		return packed, nil
	}
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends early")
	}
	if err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	return content, nil
}

func unXZ(packed []byte) ([]byte, error) {
	// The library takes the end of the file behind a stream's header for an
	// empty stream, and makes room for any dictionary.
	if !bytes.HasSuffix(bytes.TrimRight(packed, "\x00"), []byte("YZ")) {
		return nil, errors.New("xz: no footer at the end")
	}
	if n := dictionary(packed); n > MaxBytes {
		return nil, fmt.Errorf("xz: a dictionary of %d bytes; at most %d are supported", n, MaxBytes)
	}
	r, err := xz.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return readAll(r)
}

// dictionary is the size, in bytes, of the first block's LZMA2 dictionary, or 0
// when there is no such block ("The .xz File Format", 3.1 and 5.3.1). All blocks
// of a file have the same: xz has no option to change it in between.
func dictionary(packed []byte) uint64 {
	const streamHeader, compressedSize, size, lzma2 = 12, 0x40, 0x80, 0x21
	if len(packed) < streamHeader+2 {
		return 0
	}
	flags, filters := packed[streamHeader+1], packed[streamHeader+2:]
	for _, optional := range []byte{compressedSize, size} {
		if flags&optional != 0 {
			_, n := binary.Uvarint(filters)
			filters = filters[max(n, 0):]
		}
	}
	if len(filters) < 3 || filters[0] != lzma2 {
		return 0
	}
	bits := filters[2]
	return uint64(2|bits&1) << (bits/2 + 11)
}

func unZstd(packed []byte) ([]byte, error) {
	if len(packed) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxBytes), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	content, err := d.DecodeAll(packed, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		err = errLarge
	}
	return content, err
}

func unGzip(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return readAll(r)
}

func readAll(r io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err == nil && len(content) > MaxBytes {
		err = errLarge
	}
	return content, err
}
