package squashfs

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/zlib"
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
		return newZstd(opt.Level, maxLen)
	case Gzip:
		z, err := zlib.NewWriterLevel(nil, opt.Level)
		if err != nil {
			return nil, fmt.Errorf("starting zlib: %w", err)
		}
		return zlibCompressor{z}, nil
	}
	return nil, nil
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
		return 3<<20 + history
	case o.Compression == Gzip:
		return 2 << 20
	}
	return 0
}
