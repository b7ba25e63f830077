package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/abupdate/abupdate/internal/fault"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// A spool holds one layer of a registry on disk, for reads after the first.
// What is in it has the right digest, and its file has no name: whatever ends
// this process, the room is given back.
type spool struct {
	parent string
	desc   v1.Descriptor
	f      *os.File // nil: empty
}

// open fetches a layer unless it is the one that is there. Another one gives
// up its place: the spool never holds more than the largest layer.
func (s *spool) open(ctx context.Context, via route, url string, desc v1.Descriptor, count func(int64)) (io.ReadCloser, error) {
	progress := &blobMeter{count: count, left: desc.Size}
	if s.f == nil || s.desc.Digest != desc.Digest {
		if err := s.Close(); err != nil {
			return nil, err
		}
		if err := s.fill(ctx, via, url, desc, progress); err != nil {
			return nil, err
		}
	}
	progress.add(desc.Size)
	return io.NopCloser(io.NewSectionReader(s.f, 0, desc.Size)), nil
}

func (s *spool) fill(ctx context.Context, via route, url string, desc v1.Descriptor, progress *blobMeter) (err error) {
	parent := s.parent
	if parent == "" {
		parent = os.TempDir()
	}
	if err := checkRoom(parent, uint64(desc.Size)); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(parent, "abupdate-spool-*")
	if err != nil {
		return spoolError(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s.f, err = fetch(ctx, dir, via, url, desc, progress)
	s.desc = desc
	return err
}

// checkRoom says that a layer will not fit before the first byte is fetched.
func checkRoom(dir string, need uint64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("spooling layers in %s: %w", dir, err)
	}
	if free := st.Bavail * uint64(st.Bsize); free < need {
		return fault.Errorf(fault.NoRoom, "spooling layers in %s: they need %d bytes, %d are free", dir, need, free)
	}
	return nil
}

// spoolError tells a full disk from other trouble.
func spoolError(err error) error { return spoolKind(fmt.Errorf("spooling: %w", err)) }

func spoolKind(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fault.Wrap(fault.NoRoom, err)
	}
	return err
}

// Close gives the room back.
func (s *spool) Close() error {
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	return err
}
