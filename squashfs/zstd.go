package squashfs

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// A zstdCompressor makes a frame of each piece, cut into blocks by splits.
type zstdCompressor struct {
	enc  *zstd.Encoder
	cuts []int
}

func newZstd(level, maxLen int) (*zstdCompressor, error) {
	// The kernel sizes its decoder for one block of the image: the window must
	// not be larger. Literals are coded also where the encoder expects little
	// of it, for 0.3 % of the image and hardly any time.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)), zstd.WithWindowSize(maxLen),
		zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(1), zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		return nil, fmt.Errorf("starting zstd: %w", err)
	}
	return &zstdCompressor{enc: enc}, nil
}

func (c *zstdCompressor) compress(dst, src []byte) []byte {
	out := frame{buf: dst}
	c.enc.ResetContentSize(&out, int64(len(src)))
	c.cuts = append(splits(c.cuts[:0], src), len(src))
	start := 0
	for _, end := range c.cuts {
		_, err := c.enc.Write(src[start:end])
		if err == nil && end < len(src) {
			err = c.enc.Flush() // ends the block
		}
		if err != nil {
			panic(err) // a frame takes everything
		}
		start = end
	}
	if err := c.enc.Close(); err != nil {
		panic(err)
	}
	return out.buf
}

// A frame collects what an encoder writes: the header, then block by block. It
// drops an empty block at the end, which the encoder adds when it had to end a
// full one before it knew that it was the last: the kernel's squashfs has no
// room left then and takes the frame for broken.
type frame struct {
	buf  []byte
	last int // where the last block begins
}

// lastBlock is the bit in the first byte of a block that says that it is the
// last one (RFC 8878, 3.1.1.2).
const lastBlock = 1

func (f *frame) Write(p []byte) (int, error) {
	if len(p) == 3 && p[0] == lastBlock && p[1] == 0 && p[2] == 0 && f.last > 0 {
		f.buf[f.last] |= lastBlock
		return len(p), nil
	}
	f.last = len(f.buf)
	f.buf = append(f.buf, p...)
	return len(p), nil
}
