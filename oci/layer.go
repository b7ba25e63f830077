package oci

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"sync"

	"github.com/abupdate/abupdate/internal/fault"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

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
		err = doubt(lr.blob, digestErr)
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
