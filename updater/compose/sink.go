package compose

import (
	"io"
	"os"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/squashfs"
)

type writerAtSink struct {
	w      io.WriterAt
	off    int64
	behind blockdev.Behind
}

// Sink returns a squashfs.Sink that writes an image to w from offset 0 on.
func Sink(w io.WriterAt) squashfs.Sink { return &writerAtSink{w: w, off: firstBlock} }

const firstBlock = 4096 // bytes that a Sink gets last

// Write implements squashfs.Sink.
func (s *writerAtSink) Write(p []byte) (int, error) {
	n, err := s.w.WriteAt(p, s.off)
	if f, ok := s.w.(*os.File); ok {
		s.behind.Wrote(f, s.off, int64(n))
	}
	s.off += int64(n)
	return n, err
}

// WriteFirst implements squashfs.Sink.
func (s *writerAtSink) WriteFirst(block []byte) error {
	_, err := s.w.WriteAt(block, 0)
	return err
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteFirst([]byte) error     { return nil }

// CheckOptions returns an error for options that no squashfs can be made with.
func CheckOptions(opt squashfs.Options) error {
	w, err := squashfs.NewWriter(discard{}, opt)
	if err != nil {
		return err
	}
	w.Abort()
	return nil
}
