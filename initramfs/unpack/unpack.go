// Package unpack decompresses kernel modules: .ko.xz, .ko.zst and .ko.gz. Whole
// files in memory go in and come out, on the goroutine that asks, as suits PID 1.
package unpack

import (
	"bytes"
	"compress/gzip"
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
	// empty stream.
	if !bytes.HasSuffix(bytes.TrimRight(packed, "\x00"), []byte("YZ")) {
		return nil, errors.New("xz: no footer at the end")
	}
	r, err := xz.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return readAll(r)
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
