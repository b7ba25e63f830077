package inflate

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// ErrCorrupt says that a stream is not what gzip makes.
var ErrCorrupt = errors.New("gzip: corrupt stream")

// A Reader reads the members of a gzip file one after the other.
type Reader struct {
	r    *bufio.Reader
	d    decoder
	err  error // of the next Read
	sum  uint32
	size uint32

	// Reads that are too small to decode into go through buf.
	buf  []byte
	rest []byte
}

// Least lengths.
const (
	minRead   = 4 << 10
	smallRead = 64 << 10 // of buf
	minSource = 512      // of the reader's buffer
)

// NewReader returns a reader of the member that r, whose buffer has at least
// 512 bytes, stands at. It reads the header.
func NewReader(r *bufio.Reader) (*Reader, error) {
	if r.Size() < minSource {
		return nil, errors.New("gzip: source's buffer is too small")
	}
	z := &Reader{}
	return z, z.Reset(r)
}

// Reset begins with another member.
func (z *Reader) Reset(r *bufio.Reader) error {
	z.r, z.err, z.sum, z.size, z.rest = r, nil, 0, 0, nil
	z.d.reset()
	return z.header()
}

// Read implements io.Reader; at the member's end, behind its trailer, comes
// io.EOF. It does not fill p to its end. Errors of the source are returned as
// they are, io.ErrUnexpectedEOF where it ends too early.
func (z *Reader) Read(p []byte) (int, error) {
	if len(z.rest) == 0 && len(p) >= minRead {
		return z.decode(p)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if len(z.rest) == 0 {
		if z.buf == nil {
			z.buf = make([]byte, smallRead)
		}
		n, err := z.decode(z.buf)
		if err != nil {
			return 0, err
		}
		z.rest = z.buf[:n]
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}

// decode reads something into p, or returns an error.
func (z *Reader) decode(p []byte) (int, error) {
	if z.err != nil {
		return 0, z.err
	}
	n, err := z.d.decode(z.r, p)
	z.sum = crc32.Update(z.sum, crc32.IEEETable, p[:n])
	z.size += uint32(n)
	if err == io.EOF {
		if trailerErr := z.trailer(); trailerErr != nil {
			err = trailerErr
		}
	}
	z.err = err
	if n > 0 {
		return n, nil
	}
	return 0, err
}

func (z *Reader) trailer() error {
	var b [8]byte
	if _, err := io.ReadFull(z.r, b[:]); err != nil {
		return noEOF(err)
	}
	if binary.LittleEndian.Uint32(b[:]) != z.sum || binary.LittleEndian.Uint32(b[4:]) != z.size {
		return ErrCorrupt
	}
	return nil
}

// Flags of a header.
const (
	flagChecksum = 1 << 1
	flagExtra    = 1 << 2
	flagName     = 1 << 3
	flagComment  = 1 << 4
)

// header reads a member's header, of which nothing is wanted.
func (z *Reader) header() error {
	h := headerReader{r: z.r}
	b := h.bytes(10)
	if h.err == nil && (b[0] != 0x1f || b[1] != 0x8b || b[2] != 8) {
		return ErrCorrupt
	}
	if h.err != nil {
		return noEOF(h.err)
	}
	flags := b[3]
	if flags&flagExtra != 0 {
		n := h.bytes(2)
		for left := int(n[0]) | int(n[1])<<8; left > 0 && h.err == nil; left -= min(left, len(h.buf)) {
			h.bytes(min(left, len(h.buf)))
		}
	}
	for _, flag := range []byte{flagName, flagComment} {
		if flags&flag != 0 {
			for h.err == nil && h.bytes(1)[0] != 0 {
			}
		}
	}
	if sum := uint16(h.sum); flags&flagChecksum != 0 {
		if b := h.bytes(2); h.err == nil && binary.LittleEndian.Uint16(b) != sum {
			return ErrCorrupt
		}
	}
	return noEOF(h.err)
}

// A headerReader reads small pieces until the first error.
type headerReader struct {
	r   *bufio.Reader
	sum uint32
	buf [16]byte
	err error
}

// bytes returns the next n bytes, good until the next call.
func (h *headerReader) bytes(n int) []byte {
	clear(h.buf[:])
	if h.err == nil {
		_, h.err = io.ReadFull(h.r, h.buf[:n])
		h.sum = crc32.Update(h.sum, crc32.IEEETable, h.buf[:n])
	}
	return h.buf[:n]
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
