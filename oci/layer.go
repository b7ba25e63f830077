package oci

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"syscall"

	"github.com/abupdate/abupdate/internal/fault"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow is the largest window a zstd layer may ask for: that much
// memory is needed to read it.
const maxZstdWindow = 128 << 20

const (
	dockerLayerZstd     types.MediaType = "application/vnd.docker.image.rootfs.diff.tar.zstd"
	ociRestrictedZstd   types.MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
	dockerLayerTarPlain types.MediaType = "application/vnd.docker.image.rootfs.diff.tar+gzip"
)

func isLayerType(mt types.MediaType) bool {
	return mt.IsLayer() || mt == dockerLayerZstd || mt == ociRestrictedZstd || mt == dockerLayerTarPlain
}

// A layerReader gives a layer's uncompressed tar stream. Decompression and the
// compressed digest run in a goroutine of their own, the diffID in another,
// some buffers ahead of the consumer.
type layerReader struct {
	blob io.Closer
	raw  *verifier
	buf  *bufio.Reader // over raw
	ahead
}

const packedBytes = 128 << 10

var packedPool = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, packedBytes) }}

// openLayer reads a blob, which may be gzip, zstd or plain: what it is is seen
// from its first bytes, as its media type is often wrong. It closes the blob.
func openLayer(ctx context.Context, blob io.ReadCloser, desc v1.Descriptor, check *plainCheck) (*layerReader, error) {
	raw, err := newVerifier(withContext(ctx, blob), desc.Digest, desc.Size)
	if err != nil {
		blob.Close()
		return nil, err
	}
	lr := &layerReader{blob: blob, raw: raw, buf: packedPool.Get().(*bufio.Reader)}
	lr.buf.Reset(raw)
	plain, release, err := decompress(lr.buf)
	if err != nil {
		lr.free()
		return nil, err
	}
	if check == nil {
		lr.start(plain, release, nil)
		return lr, nil
	}
	if plain == io.Reader(lr.buf) && check.want == desc.Digest {
		check.h = nil // not compressed: one hash is enough
	}
	lr.start(plain, release, check.add)
	return lr, nil
}

// finish ends the reading: what is left of the compressed blob is read without
// being decompressed, and its digest compared. A digest that does not match
// comes before what the decompressor had to say.
func (lr *layerReader) finish() error {
	stopErr := lr.stop()
	if _, err := io.Copy(io.Discard, lr.buf); err != nil {
		return err
	}
	return stopErr
}

// verdict ends the reading after err. A digest that does not match explains
// every complaint about what is in the layer.
func (lr *layerReader) verdict(err error) error {
	var own *contentsError
	if errors.As(err, &own) || fault.KindOf(err) == fault.Refused {
		return err
	}
	if digestErr := lr.finish(); digestErr != nil {
		err = digestErr
	}
	if err == nil {
		return nil
	}
	return corrupt(err)
}

// Close releases everything; without finish it checks nothing.
func (lr *layerReader) Close() error {
	lr.stop()
	return lr.free()
}

func (lr *layerReader) free() error {
	lr.buf.Reset(nil)
	packedPool.Put(lr.buf)
	lr.buf = nil
	return lr.blob.Close()
}

// A plainCheck hashes a layer's uncompressed bytes and stops a bomb.
type plainCheck struct {
	want     v1.Hash   // diffID
	h        hash.Hash // nil: the digest says the same
	n, limit int64
}

func newPlainCheck(diffID v1.Hash, limit int64) (*plainCheck, error) {
	h, err := v1.Hasher(diffID.Algorithm)
	if err != nil {
		return nil, fault.Errorf(fault.Verify, "diffID %v: %w", diffID, err)
	}
	return &plainCheck{want: diffID, h: h, limit: limit}, nil
}

func (p *plainCheck) add(b []byte) error {
	if p.h != nil {
		p.h.Write(b)
	}
	if p.n += int64(len(b)); p.n > p.limit {
		return fault.Errorf(fault.Refused, "layer has more than %d bytes when decompressed", p.limit)
	}
	return nil
}

// verdict compares the diffID when everything was read.
func (p *plainCheck) verdict() error {
	if p.h == nil {
		return nil
	}
	if got := hex.EncodeToString(p.h.Sum(nil)); got != p.want.Hex {
		return fault.Errorf(fault.Verify, "uncompressed content has digest %s:%s; config says %v", p.want.Algorithm, got, p.want)
	}
	return nil
}

// decompress returns the plain content of r, and what to call when done.
func decompress(r *bufio.Reader) (io.Reader, func(), error) {
	switch kind, err := sniff(r); {
	case err != nil:
		return nil, nil, err
	case kind == "gzip":
		zr, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, fault.Errorf(fault.Verify, "decompressing: %w", noEOF(err))
		}
		zr.Multistream(false)
		return &gzipReader{zr, r}, func() { zr.Close() }, nil
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
	zr *gzip.Reader
	r  *bufio.Reader
}

func (g *gzipReader) Read(p []byte) (int, error) {
	for {
		n, err := g.zr.Read(p)
		if err == nil || n > 0 {
			return n, nil
		}
		if err != io.EOF {
			return 0, corrupt(fmt.Errorf("decompressing: %w", noEOF(err)))
		}
		if magic, err := g.r.Peek(2); err != nil || magic[0] != 0x1f || magic[1] != 0x8b {
			return 0, noPeekEOF(err)
		}
		if err := g.zr.Reset(g.r); err != nil {
			return 0, corrupt(fmt.Errorf("decompressing: %w", noEOF(err)))
		}
		g.zr.Multistream(false)
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

// counted tells count of what is read from rc.
func counted(rc io.ReadCloser, count func(n int64)) io.ReadCloser {
	return &countingReader{rc, count}
}

type countingReader struct {
	io.ReadCloser
	count func(n int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if c.count != nil && n > 0 {
		c.count(int64(n))
	}
	return n, err
}
