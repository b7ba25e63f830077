package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/diskfs/go-diskfs/backend"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// A storage shows a Device to go-diskfs. go-diskfs drops some read errors, so
// the first error of each kind of access is kept here for the caller to ask.
type storage struct {
	dev blockdev.Device
	pos int64
	err error
}

var _ interface {
	backend.Storage
	backend.WritableFile
	Sync() error
} = (*storage)(nil)

func (s *storage) keep(err error) error {
	if err != nil && err != io.EOF && s.err == nil {
		s.err = err
	}
	return err
}

func (s *storage) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.dev.ReadAt(p, off)
	return n, s.keep(err)
}

func (s *storage) WriteAt(p []byte, off int64) (int, error) {
	n, err := s.dev.WriteAt(p, off)
	return n, s.keep(err)
}

func (s *storage) Sync() error { return s.keep(s.dev.Sync()) }

func (s *storage) Read(p []byte) (int, error) {
	n, err := s.ReadAt(p, s.pos)
	s.pos += int64(n)
	return n, err
}

func (s *storage) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += s.pos
	case io.SeekEnd:
		off += s.dev.Size()
	}
	if off < 0 {
		return s.pos, errors.New("seeking before the start")
	}
	s.pos = off
	return off, nil
}

func (s *storage) Close() error                            { return nil }
func (s *storage) Path() string                            { return "" }
func (s *storage) Stat() (fs.FileInfo, error)              { return nil, errors.ErrUnsupported }
func (s *storage) Sys() (*os.File, error)                  { return nil, backend.ErrNotSuitable }
func (s *storage) Writable() (backend.WritableFile, error) { return s, nil }
