package oci

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/inflate"
	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow is the largest window a zstd layer may ask for: that much
// memory is needed to read it.
const maxZstdWindow = 128 << 20

// decompress returns the plain content of r, and what to call when done.
func decompress(r *bufio.Reader) (io.Reader, func(), error) {
	switch kind, err := sniff(r); {
	case err != nil:
		return nil, nil, err
	case kind == "gzip":
		zr, err := inflate.NewReader(r)
		if err != nil {
			return nil, nil, fault.Errorf(fault.Verify, "decompressing: %w", err)
		}
		return &gzipReader{zr, r}, func() {}, nil
	case kind == "zstd":
		zr, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("decompressing: %w", err)
		}
		return &corruptReader{zr}, zr.Close, nil
	}
	return r, func() {}, nil
}

// sniff tells "gzip" and "zstd" by their first bytes; all else is "".
func sniff(r *bufio.Reader) (string, error) {
	magic, err := r.Peek(4)
	switch {
	case err != nil && err != io.EOF:
		return "", err
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return "gzip", nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}),
		len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.HasSuffix(magic, []byte{0x2a, 0x4d, 0x18}): // a skippable frame
		return "zstd", nil
	}
	return "", nil
}

// A gzipReader reads all members of a gzip file. What follows the last one is
// padding that some tools leave (umoci and GNU gzip ignore it too); the blob's
// digest still covers it.
type gzipReader struct {
	zr *inflate.Reader
	r  *bufio.Reader
}

func (g *gzipReader) Read(p []byte) (int, error) {
	for {
		n, err := g.zr.Read(p)
		if err == nil || n > 0 {
			return n, nil
		}
		if err != io.EOF {
			return 0, corrupt(fmt.Errorf("decompressing: %w", err))
		}
		if magic, err := g.r.Peek(2); err != nil || magic[0] != 0x1f || magic[1] != 0x8b {
			return 0, noPeekEOF(err)
		}
		if err := g.zr.Reset(g.r); err != nil {
			return 0, corrupt(fmt.Errorf("decompressing: %w", err))
		}
	}
}

// noPeekEOF is the end of a stream of which err was seen when looking past it.
func noPeekEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

type corruptReader struct{ r io.Reader }

func (c *corruptReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && err != io.EOF {
		err = corrupt(fmt.Errorf("decompressing: %w", err))
	}
	return n, err
}

// corrupt says that content is bad, unless it was reading that failed.
func corrupt(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fault.Wrap(fault.Verify, noEOF(err))
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
