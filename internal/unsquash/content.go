package unsquash

import (
	"fmt"
	"io"

	"github.com/abupdate/abupdate/internal/fstree"
)

// A Reader reads contents, for one goroutine.
type Reader struct {
	im       *Image
	d        decompressor
	stored   []byte
	block    []byte
	fragment uint32 // whose block is in tail, or none
	tail     []byte
}

// NewReader returns a Reader. It holds three blocks.
func (im *Image) NewReader() (*Reader, error) {
	d, err := newDecompressor(im.sb.compression)
	if err != nil {
		return nil, fmt.Errorf("reading the squashfs: %w", err)
	}
	return &Reader{im: im, d: d, fragment: none}, nil
}

// Copy writes the content of a regular file to w.
func (r *Reader) Copy(w io.Writer, f *File) error {
	if f.Type != fstree.Regular {
		return fmt.Errorf("reading /%s of the squashfs: it is a %v", f.Path, f.Type)
	}
	if err := r.copy(w, f); err != nil {
		return fmt.Errorf("reading /%s of the squashfs: %w", f.Path, err)
	}
	return nil
}

func (r *Reader) copy(w io.Writer, f *File) error {
	c := content{r: r, f: f, pos: f.data.start, left: f.Size}
	for c.left > 0 {
		b, err := c.next()
		if err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// A content is a file that is being read.
type content struct {
	r    *Reader
	f    *File
	n    int   // blocks read
	pos  int64 // of the next one
	left int64
	buf  []byte // read, and not yet taken by Read
}

// next returns what comes next: a block, or the end in a fragment block.
func (c *content) next() ([]byte, error) {
	r, d := c.r, &c.f.data
	if c.n == len(d.blocks) {
		b, err := r.end(c.f, c.left)
		c.left = 0
		return b, err
	}
	stored, want := d.blocks[c.n], int(min(c.left, int64(r.im.sb.blockSize)))
	b, err := r.read(&r.block, c.pos, stored, want)
	if err != nil {
		return nil, err
	}
	if len(b) != want {
		return nil, fmt.Errorf("block at byte %d has %d bytes; want %d: %w", c.pos, len(b), want, ErrCorrupt)
	}
	c.n, c.pos, c.left = c.n+1, c.pos+int64(stored&^notCompressed), c.left-int64(want)
	return b, nil
}

// Read implements io.Reader.
func (c *content) Read(p []byte) (int, error) {
	if len(c.buf) == 0 {
		if c.left == 0 {
			return 0, io.EOF
		}
		var err error
		if c.buf, err = c.next(); err != nil {
			return 0, fmt.Errorf("reading /%s of the squashfs: %w", c.f.Path, err)
		}
	}
	n := copy(p, c.buf)
	c.buf = c.buf[n:]
	return n, nil
}

// end returns the last n bytes of a file, which are in a fragment block.
func (r *Reader) end(f *File, n int64) ([]byte, error) {
	i := f.data.fragment
	if int64(i) >= int64(len(r.im.fragments)) {
		return nil, fmt.Errorf("fragment %d of %d: %w", i, len(r.im.fragments), ErrCorrupt)
	}
	if r.fragment != i {
		r.fragment = none
		frag := r.im.fragments[i]
		b, err := r.read(&r.tail, frag.start, frag.stored, r.im.sb.blockSize)
		if err != nil {
			return nil, err
		}
		r.tail, r.fragment = b, i
	}
	first := int64(f.data.offset)
	if first+n > int64(len(r.tail)) {
		return nil, fmt.Errorf("bytes %d to %d of a fragment block of %d: %w", first, first+n, len(r.tail), ErrCorrupt)
	}
	return r.tail[first:][:n], nil
}

// read returns the block at pos, in buf; a stored length of zero is a hole of
// want bytes.
func (r *Reader) read(buf *[]byte, pos int64, stored uint32, want int) ([]byte, error) {
	size := r.im.sb.blockSize
	if cap(*buf) < size {
		*buf = make([]byte, 0, size)
	}
	if stored == 0 {
		b := (*buf)[:want]
		clear(b)
		return b, nil
	}
	plain, n := stored&notCompressed != 0, int64(stored&^notCompressed)
	if n > int64(size) || pos < superblockSize || pos > r.im.sb.bytesUsed-n {
		return nil, fmt.Errorf("block of %d bytes at byte %d: %w", n, pos, ErrCorrupt)
	}
	if plain {
		b := (*buf)[:n]
		return b, readFull(r.im.r, b, pos)
	}
	if r.stored == nil {
		r.stored = make([]byte, size)
	}
	if err := readFull(r.im.r, r.stored[:n], pos); err != nil {
		return nil, err
	}
	b, err := r.d.decompress(*buf, r.stored[:n])
	if err != nil {
		return nil, fmt.Errorf("block at byte %d: %w", pos, err)
	}
	return b, nil
}
