package compose

import (
	"io"

	"github.com/abupdate/abupdate/squashfs"
)

type writerAtSink struct {
	w   io.WriterAt
	off int64
}

// Sink returns a squashfs.Sink that writes an image to w from offset 0 on.
func Sink(w io.WriterAt) squashfs.Sink { return &writerAtSink{w: w, off: firstBlock} }

const firstBlock = 4096 // bytes that a Sink gets last

// Write implements squashfs.Sink.
func (s *writerAtSink) Write(p []byte) (int, error) {
	n, err := s.w.WriteAt(p, s.off)
	s.off += int64(n)
	return n, err
}

// WriteFirst implements squashfs.Sink.
func (s *writerAtSink) WriteFirst(block []byte) error {
	_, err := s.w.WriteAt(block, 0)
	return err
}
