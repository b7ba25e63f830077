package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/abupdate/abupdate/internal/fault"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxStalls is how often in a row a transfer may break without one new byte.
const maxStalls = 4

// A remoteBlob streams a blob and goes on where the connection broke, with a
// closed range: some registries answer 416 to an open one.
type remoteBlob struct {
	ctx    context.Context
	client *http.Client
	url    string
	desc   v1.Descriptor

	body   io.ReadCloser // nil: to be opened at off
	off    int64
	stalls int
}

func openRemote(ctx context.Context, client *http.Client, url string, desc v1.Descriptor) (io.ReadCloser, error) {
	b := &remoteBlob{ctx: ctx, client: client, url: url, desc: desc}
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
			b.stalls = 0
			return n, nil
		}
		switch {
		case err == nil:
			continue
		case err == io.EOF && b.off >= b.desc.Size:
			return 0, io.EOF
		case b.ctx.Err() != nil:
			return 0, context.Cause(b.ctx)
		}
		b.body.Close()
		b.body = nil
		if b.stalls++; b.stalls > maxStalls {
			return 0, fault.Errorf(fault.Network, "blob %v: transfer broke at byte %d of %d: %w", b.desc.Digest, b.off, b.desc.Size, noEOF(err))
		}
		if err := pause(b.ctx, b.stalls); err != nil {
			return 0, err
		}
	}
}

func (b *remoteBlob) Close() error {
	if b.body == nil {
		return nil
	}
	return b.body.Close()
}

// connect asks for the blob from off on, again and again when the registry
// has a bad moment.
func (b *remoteBlob) connect() error {
	for {
		err := b.request()
		if err == nil {
			return nil
		}
		var temporary *temporaryError
		if !errors.As(err, &temporary) || b.stalls >= maxStalls {
			return err
		}
		b.stalls++
		if err := pause(b.ctx, b.stalls); err != nil {
			return err
		}
	}
}

type temporaryError struct{ error }

func (e *temporaryError) Unwrap() error { return e.error }

func (b *remoteBlob) request() error {
	req, err := http.NewRequestWithContext(b.ctx, http.MethodGet, b.url, nil)
	if err != nil {
		return fmt.Errorf("blob %v: %w", b.desc.Digest, err)
	}
	want := http.StatusOK
	if b.off > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", b.off, b.desc.Size-1))
		want = http.StatusPartialContent
	}
	resp, err := b.client.Do(req)
	if err != nil {
		if b.ctx.Err() != nil {
			return context.Cause(b.ctx)
		}
		return &temporaryError{fault.Errorf(fault.Network, "blob %v: %w", b.desc.Digest, err)}
	}
	switch resp.StatusCode {
	case want:
		b.body = resp.Body
		return nil
	case http.StatusOK: // a registry without ranges begins anew
		if _, err := io.CopyN(io.Discard, resp.Body, b.off); err == nil {
			b.body = resp.Body
			return nil
		}
		resp.Body.Close()
		if b.ctx.Err() != nil {
			return context.Cause(b.ctx)
		}
		return &temporaryError{fault.Errorf(fault.Network, "blob %v: transfer broke before byte %d, where it had broken before", b.desc.Digest, b.off)}
	}
	resp.Body.Close()
	return b.statusError(resp.StatusCode)
}

func (b *remoteBlob) statusError(code int) error {
	switch {
	case code == http.StatusNotFound:
		return fault.Errorf(fault.Verify, "blob %v is missing in the registry", b.desc.Digest)
	case code == http.StatusTooManyRequests || code >= 500:
		return &temporaryError{fault.Errorf(fault.Network, "blob %v: the registry answers %d %s", b.desc.Digest, code, http.StatusText(code))}
	}
	return fault.Errorf(fault.Network, "blob %v: the registry answers %d %s", b.desc.Digest, code, http.StatusText(code))
}

// pause waits before try n: 0.2 s, 0.4 s, ...
func pause(ctx context.Context, n int) error {
	t := time.NewTimer(100 * time.Millisecond << n)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
