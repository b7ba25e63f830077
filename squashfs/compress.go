package squashfs

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// A compressor is used by one goroutine. compress appends to dst; the result
// is good until the next call.
type compressor interface {
	compress(dst, src []byte) []byte
}

// newCompressor makes a compressor for pieces of up to max bytes, or nil for
// None.
func newCompressor(opt Options, maxLen int) (compressor, error) {
	switch opt.Compression {
	case Zstd:
		// The kernel sizes its decoder for one block of the image: the window
		// must not be larger.
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(opt.Level)),
			zstd.WithWindowSize(maxLen), zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("starting zstd: %w", err)
		}
		return &zstdCompressor{enc: enc}, nil
	case Gzip:
		z, err := zlib.NewWriterLevel(nil, opt.Level)
		if err != nil {
			return nil, fmt.Errorf("starting zlib: %w", err)
		}
		return zlibCompressor{z}, nil
	}
	return nil, nil
}

type zstdCompressor struct {
	enc  *zstd.Encoder
	cuts []int
}

func (c *zstdCompressor) compress(dst, src []byte) []byte {
	c.cuts = splits(c.cuts[:0], src)
	if len(c.cuts) == 0 {
		return c.enc.EncodeAll(src, dst)
	}
	buf := bytes.NewBuffer(dst)
	c.enc.Reset(buf)
	start := 0
	for _, end := range append(c.cuts, len(src)) {
		_, err := c.enc.Write(src[start:end])
		if err == nil && end < len(src) {
			err = c.enc.Flush() // ends the block
		}
		if err != nil {
			panic(err) // a bytes.Buffer does not fail
		}
		start = end
	}
	if err := c.enc.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

type zlibCompressor struct{ z *zlib.Writer }

func (c zlibCompressor) compress(dst, src []byte) []byte {
	buf := bytes.NewBuffer(dst)
	c.z.Reset(buf)
	if _, err := c.z.Write(src); err != nil {
		panic(err) // a bytes.Buffer does not fail
	}
	if err := c.z.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// pack returns src compressed, into dst's room, or src itself when that is not
// smaller: the format marks such blocks as stored.
func pack(c compressor, dst, src []byte) (out []byte, stored bool) {
	if c == nil {
		return src, true
	}
	if out = c.compress(dst[:0], src); len(out) < len(src) {
		return out, false
	}
	return src, true
}

// compressorSize is an upper bound of what one compressor keeps, as measured:
// mostly tables whose length depends on the level, and its history.
func compressorSize(o Options) int64 {
	history := 2 * int64(o.BlockSize)
	switch {
	case o.Compression == Zstd && o.Level >= 10:
		return 40<<20 + history
	case o.Compression == Zstd && o.Level >= 6:
		return 6<<20 + history
	case o.Compression == Zstd:
		return 2<<20 + history
	case o.Compression == Gzip:
		return 2 << 20
	}
	return 0
}
