package unsquash

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Numbers of compressions in the superblock.
const (
	gzipCompression = 1
	zstdCompression = 6
)

// A decompressor is for one goroutine.
type decompressor interface {
	// decompress appends the block to dst[:0]; more than cap(dst) is an error.
	decompress(dst, block []byte) ([]byte, error)
}

func newDecompressor(compression uint16) (decompressor, error) {
	if compression == gzipCompression {
		return new(gzipBlocks), nil
	}
	// A block's window may be larger than the block: mksquashfs leaves it to
	// libzstd.
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(8<<20))
	return zstdBlocks{d}, err
}

var errTooLong = errors.New("a block is longer than it may be")

type zstdBlocks struct{ d *zstd.Decoder }

func (z zstdBlocks) decompress(dst, block []byte) ([]byte, error) {
	out, err := z.d.DecodeAll(block, dst[:0])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	if len(out) > cap(dst) {
		return nil, fmt.Errorf("%w: %w", errTooLong, ErrCorrupt)
	}
	return out, nil
}

type gzipBlocks struct {
	in bytes.Reader
	z  io.ReadCloser
}

func (g *gzipBlocks) decompress(dst, block []byte) ([]byte, error) {
	g.in.Reset(block)
	var err error
	if g.z == nil {
		g.z, err = zlib.NewReader(&g.in)
	} else {
		err = g.z.(zlib.Resetter).Reset(&g.in, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	dst = dst[:cap(dst)]
	n, err := io.ReadFull(g.z, dst)
	if err == nil { // full: there must be no more
		if extra, _ := g.z.Read(make([]byte, 1)); extra > 0 {
			return nil, fmt.Errorf("%w: %w", errTooLong, ErrCorrupt)
		}
	} else if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	return dst[:n], nil
}
