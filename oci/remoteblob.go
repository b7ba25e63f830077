package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/wire"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A route is how blobs come over the network: client tries requests again,
// and wire counts the tries.
type route struct {
	wire   *wire.Client
	client *http.Client
	place  string // what is at its end, for people
}

// A remoteBlob streams a blob, or a piece of one, and goes on where the
// connection broke, with a closed range: some registries answer 416 to an open
// one.
type remoteBlob struct {
	ctx   context.Context
	via   route
	tries *wire.Tries
	url   string
	desc  v1.Descriptor
	piece bool // never to be had by reading the blob from its start

	body io.ReadCloser // nil: to be opened at off
	off  int64
	end  int64
}

func openRemote(ctx context.Context, via route, url string, desc v1.Descriptor) (io.ReadCloser, error) {
	return (&remoteBlob{ctx: ctx, via: via, url: url, desc: desc, end: desc.Size}).open()
}

// openRemotePiece opens n bytes from off on.
func openRemotePiece(ctx context.Context, via route, url string, desc v1.Descriptor, off, n int64) (io.ReadCloser, error) {
	return (&remoteBlob{ctx: ctx, via: via, url: url, desc: desc, piece: true, off: off, end: off + n}).open()
}

func (b *remoteBlob) open() (io.ReadCloser, error) {
	b.tries = b.via.wire.Tries()
	b.ctx = wire.WithTries(b.ctx, b.tries)
	if err := b.connect(); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *remoteBlob) Read(p []byte) (int, error) {
	for {
		if b.body == nil {
			if err := b.connect(); err != nil {
				return 0, err
			}
		}
		n, err := b.body.Read(p)
		b.off += int64(n)
		if n > 0 {
			b.tries.Progress()
			return n, nil
		}
		switch {
		case err == nil:
			continue
		case b.off >= b.end: // however it ended
			return 0, io.EOF
		case b.ctx.Err() != nil:
			return 0, context.Cause(b.ctx)
		}
		b.body.Close()
		b.body = nil
		err = fault.Errorf(fault.Network, "blob %v: transfer broke at byte %d of %d: %w", b.desc.Digest, b.off, b.desc.Size, noEOF(err))
		if !b.tries.Again(b.ctx, err) {
			return 0, b.ended(err)
		}
	}
}

func (b *remoteBlob) Close() error {
	if b.body == nil {
		return nil
	}
	return b.body.Close()
}

// ended is err, or what made the context end.
func (b *remoteBlob) ended(err error) error {
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	return err
}

// connect asks for the blob from off on, and again when it broke before that.
func (b *remoteBlob) connect() error {
	for {
		err := b.request()
		if b.isWrong(err) {
			continue
		}
		if !retriable(err) || !b.tries.Again(b.ctx, err) {
			return b.ended(err)
		}
	}
}

// A temporaryError is worth another try.
type temporaryError struct{ error }

func (e *temporaryError) Unwrap() error { return e.error }

func retriable(err error) bool {
	var t *temporaryError
	return errors.As(err, &t)
}

func (b *remoteBlob) request() error {
	req, err := http.NewRequestWithContext(b.ctx, http.MethodGet, b.url, nil)
	if err != nil {
		return fmt.Errorf("blob %v: %w", b.desc.Digest, err)
	}
	ranged := b.piece || b.off > 0
	if ranged {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", b.off, b.end-1))
	}
	resp, err := b.via.client.Do(req)
	if err != nil {
		return fmt.Errorf("blob %v: %w", b.desc.Digest, registryKind(bare(err)))
	}
	err = b.answer(resp, ranged)
	if err != nil {
		resp.Body.Close()
	}
	return err
}

// answer takes the body of a response, if it is what was asked for.
func (b *remoteBlob) answer(resp *http.Response, ranged bool) error {
	switch code := resp.StatusCode; {
	case code == http.StatusOK && b.piece:
		return fault.Errorf(fault.Network, "blob %v: the server answers a range with all of it: %w", b.desc.Digest, ErrNoRanges)
	case code == http.StatusRequestedRangeNotSatisfiable && b.piece:
		return fault.Errorf(fault.Network, "blob %v: the server answers %d to bytes %d to %d of %d: %w", b.desc.Digest, code, b.off, b.end-1, b.desc.Size, ErrNoRanges)
	case code == http.StatusPartialContent && ranged:
		n, err := b.checkRange(resp.Header.Get("Content-Range"))
		if err != nil {
			return err
		}
		if resp.ContentLength > n {
			return wrong(fault.Network, "blob %v: the server sends %d bytes for a range of %d", b.desc.Digest, resp.ContentLength, n)
		}
	case code != http.StatusOK:
		return b.via.statusError(code, b.desc)
	case resp.ContentLength >= 0 && resp.ContentLength != b.desc.Size:
		return wrong(fault.Verify, "blob %v: the server has %d bytes of it; want %d", b.desc.Digest, resp.ContentLength, b.desc.Size)
	case ranged: // a registry without ranges begins anew
		if err := b.skip(resp.Body); err != nil {
			return err
		}
	}
	b.body = resp.Body
	return nil
}

// skip goes over what was read before.
func (b *remoteBlob) skip(r io.Reader) error {
	_, err := io.CopyN(io.Discard, r, b.off)
	if err == nil {
		return nil
	}
	return &temporaryError{fault.Errorf(fault.Network, "blob %v: transfer broke before byte %d, where it had broken before", b.desc.Digest, b.off)}
}

// checkRange compares what a server says it sends with what it was asked for,
// and returns how many bytes that is. It may be less.
func (b *remoteBlob) checkRange(got string) (int64, error) {
	var first, last, size int64
	if n, err := fmt.Sscanf(got, "bytes %d-%d/%d", &first, &last, &size); n < 2 || err != nil && got != fmt.Sprintf("bytes %d-%d/*", first, last) {
		return 0, wrong(fault.Network, "blob %v: the server answers a range with Content-Range %q", b.desc.Digest, got)
	} else if n == 3 && size != b.desc.Size {
		return 0, wrong(fault.Verify, "blob %v: the server has %d bytes of it; want %d", b.desc.Digest, size, b.desc.Size)
	}
	if first != b.off || last < first || last >= b.end {
		return 0, wrong(fault.Network, "blob %v: the server answers bytes %d to %d with bytes %d to %d", b.desc.Digest, b.off, b.end-1, first, last)
	}
	return last - first + 1, nil
}

// statusError tells of an answer that no further try will better.
func (r route) statusError(code int, desc v1.Descriptor) error {
	if code == http.StatusNotFound {
		return fault.Errorf(fault.Verify, "blob %v is missing in the %s", desc.Digest, r.place)
	}
	return fault.Errorf(fault.Network, "blob %v: the %s answers %d %s", desc.Digest, r.place, code, http.StatusText(code))
}
