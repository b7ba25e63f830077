package oci

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"

	"github.com/abupdate/abupdate/internal/fault"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxDocument bounds manifests, indexes and configs, in bytes.
const maxDocument = 16 << 20

// maxValues bounds the values in one. Parsed, a list of empty descriptors takes
// fifty times the memory that its text does.
const maxValues = 1 << 16

// parse reads a JSON document, which anybody may have written.
func parse(doc []byte, v any) error {
	if n := bytes.Count(doc, []byte{','}); n >= maxValues {
		return fmt.Errorf("has more than %d values", maxValues)
	}
	return json.Unmarshal(doc, v)
}

// A verifier passes a blob on and compares size and digest at its end, inside
// Read, so that no consumer can forget. Only io.EOF means that both matched.
type verifier struct {
	r    io.Reader
	h    hash.Hash
	want v1.Hash
	size int64 // wanted
	n    int64 // read so far
	err  error
}

func newVerifier(r io.Reader, want v1.Hash, size int64) (*verifier, error) {
	h, err := v1.Hasher(want.Algorithm)
	if err != nil {
		return nil, fault.Errorf(fault.Verify, "blob %v: %w", want, err)
	}
	return &verifier{r: r, h: h, want: want, size: size}, nil
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.r.Read(p)
	v.n += int64(n)
	v.h.Write(p[:n])
	switch {
	case v.n > v.size:
		err = fault.Errorf(fault.Verify, "blob %v: more than its %d bytes", v.want, v.size)
	case err == io.EOF:
		err = v.check()
	case err != nil:
		err = fmt.Errorf("reading blob %v at byte %d: %w", v.want, v.n, err)
	}
	v.err = err
	return n, err
}

func (v *verifier) check() error {
	if v.n != v.size {
		return fault.Errorf(fault.Verify, "blob %v: ends after %d bytes; want %d", v.want, v.n, v.size)
	}
	if got := hex.EncodeToString(v.h.Sum(nil)); got != v.want.Hex {
		return fault.Errorf(fault.Verify, "blob %v: its content has digest %s:%s", v.want, v.want.Algorithm, got)
	}
	return io.EOF
}

// readDocument reads a small blob whole and checks it.
func readDocument(r io.Reader, want v1.Hash, size int64) ([]byte, error) {
	if size < 0 || size > maxDocument {
		return nil, fault.Errorf(fault.Verify, "blob %v: %d bytes; a manifest or config has at most %d", want, size, maxDocument)
	}
	v, err := newVerifier(r, want, size)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(v)
}

// withContext makes r end with the context's cause once it is done.
func withContext(ctx context.Context, r io.Reader) io.Reader { return &contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
