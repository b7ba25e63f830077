package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/filesystem/squashfs"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// openSquashfs reads the file system in a slot, with go-diskfs: a reader that
// is not ours, so that what goes to the ESP was read by a second pair of eyes.
func openSquashfs(dev blockdev.Device) (fs.FS, error) {
	const pages = 4096
	fsys, err := squashfs.Read(&readOnly{dev: dev}, dev.Size(), 0, pages)
	if err != nil {
		return nil, fmt.Errorf("reading the squashfs: %w", err)
	}
	return fsys, nil
}

// readOnly shows a Device to go-diskfs.
type readOnly struct {
	dev blockdev.Device
	pos int64
}

var _ backend.Storage = (*readOnly)(nil)

func (s *readOnly) ReadAt(p []byte, off int64) (int, error) { return s.dev.ReadAt(p, off) }

func (s *readOnly) Read(p []byte) (int, error) {
	n, err := s.dev.ReadAt(p, s.pos)
	s.pos += int64(n)
	return n, err
}

func (s *readOnly) Seek(off int64, whence int) (int64, error) {
	base := [...]int64{0, s.pos, s.dev.Size()}[whence]
	if base+off < 0 {
		return s.pos, errors.New("seeking before the start")
	}
	s.pos = base + off
	return s.pos, nil
}

func (s *readOnly) Close() error                            { return nil }
func (s *readOnly) Path() string                            { return "" }
func (s *readOnly) Stat() (fs.FileInfo, error)              { return nil, errors.ErrUnsupported }
func (s *readOnly) Sys() (*os.File, error)                  { return nil, backend.ErrNotSuitable }
func (s *readOnly) Writable() (backend.WritableFile, error) { return nil, backend.ErrIncorrectOpenMode }
