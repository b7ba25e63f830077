package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/abupdate/abupdate/internal/fault"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A source holds the blobs of one image.
type source interface {
	// blob opens a blob for one forward pass. What comes out is not checked.
	blob(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error)
	// again opens a layer that was read before; count is told of its bytes.
	again(ctx context.Context, desc v1.Descriptor, count func(int64)) (io.ReadCloser, error)
	Close() error
}

// files is a place with named files: a directory, or an archive read in place.
type files interface {
	open(name string) (io.ReadCloser, int64, error) // errors.Is fs.ErrNotExist when missing
	Close() error
}

type dirFiles string

func (d dirFiles) open(name string) (io.ReadCloser, int64, error) {
	f, err := os.Open(filepath.Join(string(d), filepath.FromSlash(name)))
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", f.Name())
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, fi.Size(), nil
}

func (dirFiles) Close() error { return nil }

// layoutSource reads the blobs of an OCI image layout.
type layoutSource struct{ files }

func (s layoutSource) blob(_ context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	rc, size, err := s.open(blobName(desc.Digest))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.Errorf(fault.Verify, "blob %v is missing in the layout", desc.Digest)
	case err != nil:
		return nil, fmt.Errorf("opening blob %v: %w", desc.Digest, err)
	case size != desc.Size:
		rc.Close()
		return nil, fault.Errorf(fault.Verify, "blob %v: has %d bytes; want %d", desc.Digest, size, desc.Size)
	}
	return rc, nil
}

func (s layoutSource) again(ctx context.Context, desc v1.Descriptor, count func(int64)) (io.ReadCloser, error) {
	rc, err := s.blob(ctx, desc)
	if err != nil {
		return nil, err
	}
	return counted(rc, count), nil
}

// document reads a small blob and checks it.
func document(ctx context.Context, src source, desc v1.Descriptor) ([]byte, error) {
	for {
		doc, err := documentOnce(ctx, src, desc)
		if !Elsewhere(err) {
			return doc, err
		}
	}
}

func documentOnce(ctx context.Context, src source, desc v1.Descriptor) ([]byte, error) {
	rc, err := src.blob(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	doc, err := readDocument(withContext(ctx, rc), desc.Digest, desc.Size)
	return doc, doubt(rc, err)
}

func blobName(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// readSmall reads a whole file that carries no digest.
func readSmall(f files, name string) ([]byte, error) {
	rc, size, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	if size > maxDocument {
		return nil, fault.Errorf(fault.Verify, "%s has %d bytes, more than %d", name, size, maxDocument)
	}
	b, err := io.ReadAll(io.LimitReader(rc, size))
	if err == nil && int64(len(b)) != size {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}
