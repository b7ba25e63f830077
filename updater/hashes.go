package updater

import (
	"fmt"
	"io"
	"os"
)

// A HashStore keeps the hashes of an image's blocks until the tree is written,
// where no slot has room for them: the first in memory, and those of a large
// image in a file without a name.
type HashStore struct {
	dir   string // for the file
	pages [][]byte
	f     *os.File
}

const (
	hashPage   = 64 << 10
	hashMemory = 4 << 20 // bytes, for an image of 512 MiB
)

// NewHashStore returns a store whose file will be in dir.
func NewHashStore(dir string) *HashStore { return &HashStore{dir: dir} }

// WriteAt implements io.WriterAt. Hashes are written from the first on.
func (s *HashStore) WriteAt(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		at, rest := off+int64(done), p[done:]
		if at >= hashMemory {
			n, err := s.spill(rest, at-hashMemory)
			return done + n, err
		}
		i := int(at / hashPage)
		for len(s.pages) <= i {
			s.pages = append(s.pages, make([]byte, hashPage))
		}
		done += copy(s.pages[i][at%hashPage:], rest)
	}
	return len(p), nil
}

func (s *HashStore) spill(p []byte, off int64) (int, error) {
	if s.f == nil {
		f, err := os.CreateTemp(s.dir, ".abupdate-hashes-*")
		if err != nil {
			return 0, fmt.Errorf("keeping hashes: %w", err)
		}
		s.f = f
		if err := os.Remove(f.Name()); err != nil {
			return 0, fmt.Errorf("keeping hashes: %w", err)
		}
	}
	return s.f.WriteAt(p, off)
}

// ReadAt implements io.ReaderAt.
func (s *HashStore) ReadAt(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		at, rest := off+int64(done), p[done:]
		switch i := int(at / hashPage); {
		case i < len(s.pages):
			done += copy(rest, s.pages[i][at%hashPage:])
		case at < hashMemory || s.f == nil:
			return done, io.EOF
		default:
			n, err := s.f.ReadAt(rest, at-hashMemory)
			return done + n, err
		}
	}
	return len(p), nil
}

// Close gives the room back.
func (s *HashStore) Close() error {
	s.pages = nil
	if s.f == nil {
		return nil
	}
	return s.f.Close()
}
