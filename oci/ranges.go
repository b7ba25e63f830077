package oci

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/internal/fault"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ErrNoRanges is wrapped by errors of Ranges.Open when the server gives a blob
// whole or not at all.
var ErrNoRanges = errors.New("no ranges")

// A Ranges is a blob that is read in pieces, of a registry, a web server or a
// local file. Pieces are not compared with the blob's digest, which is of all
// of it: whoever reads them checks blocks.
type Ranges struct {
	img  *Image
	desc v1.Descriptor
	src  piecer
}

// A piecer is a source that gives n bytes of a blob from off on. The reader
// may end early, or give more.
type piecer interface {
	piece(ctx context.Context, desc v1.Descriptor, off, n int64) (io.ReadCloser, error)
}

// Ranges returns the one layer with the given media type, to be read in
// pieces.
func (img *Image) Ranges(mediaType string) (*Ranges, error) {
	desc, err := img.layer(mediaType)
	if err != nil {
		return nil, err
	}
	src, ok := img.src.(piecer)
	if !ok {
		return nil, fmt.Errorf("%v: %w", img.ref, ErrNoRanges)
	}
	return &Ranges{img: img, desc: desc, src: src}, nil
}

// Size returns the bytes that the whole blob has.
func (r *Ranges) Size() int64 { return r.desc.Size }

// Open gives the n bytes from off on: the reader gives io.EOF after exactly
// n, or another error. Where a connection breaks it goes on with the rest.
// Several may be open at once.
func (r *Ranges) Open(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if off < 0 || n <= 0 || n > r.desc.Size-off {
		return nil, fmt.Errorf("%v: blob %v: no bytes %d to %d: it has %d", r.img.ref, r.desc.Digest, off, off+n-1, r.desc.Size)
	}
	rc, err := r.src.piece(ctx, r.desc, off, n)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", r.img.ref, err)
	}
	return &exactReader{ReadCloser: rc, in: withContext(ctx, rc), left: n, name: r.img.ref.String(), desc: r.desc, off: off}, nil
}

// An exactReader gives exactly so many bytes.
type exactReader struct {
	io.ReadCloser
	in        io.Reader
	left, off int64
	name      string
	desc      v1.Descriptor
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, e.finish()
	}
	n, err := e.in.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	e.off += int64(n)
	switch {
	case err == nil || err == io.EOF && e.left == 0:
		return n, nil
	case err == io.EOF:
		err = fault.Errorf(fault.Verify, "blob %v: ends at byte %d of %d", e.desc.Digest, e.off, e.desc.Size)
	}
	return n, fmt.Errorf("%s: %w", e.name, err)
}

// finish looks for bytes that nobody asked for.
func (e *exactReader) finish() error {
	var more [1]byte
	if n, _ := e.in.Read(more[:]); n > 0 {
		return fault.Errorf(fault.Verify, "%s: blob %v: more bytes than the range has that ends at byte %d", e.name, e.desc.Digest, e.off)
	}
	return io.EOF
}

// section gives a part of an opened file, and takes the file over.
func section(rc io.ReadCloser, off, n int64) (io.ReadCloser, error) {
	at, ok := rc.(io.ReaderAt)
	if !ok {
		rc.Close()
		return nil, ErrNoRanges
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(at, off, n), rc}, nil
}

func (s layoutSource) piece(ctx context.Context, desc v1.Descriptor, off, n int64) (io.ReadCloser, error) {
	rc, err := s.blob(ctx, desc)
	if err != nil {
		return nil, err
	}
	return section(rc, off, n)
}

func (s *dockerSource) piece(ctx context.Context, desc v1.Descriptor, off, n int64) (io.ReadCloser, error) {
	rc, err := s.blob(ctx, desc)
	if err != nil {
		return nil, err
	}
	return section(rc, off, n)
}

func (s *registrySource) piece(ctx context.Context, desc v1.Descriptor, off, n int64) (io.ReadCloser, error) {
	return openRemotePiece(ctx, s.route(), s.blobURL(desc.Digest), desc, off, n)
}
