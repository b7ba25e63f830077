package squashfs

import (
	"io"
)

// A Sink takes an image in one forward pass. Block 0 holds the superblock, so
// it comes last: until WriteFirst returns, the target is not a valid image.
// The methods are called by one goroutine at a time, not always the same.
type Sink interface {
	io.Writer                      // bytes from 4096 on, in order, in pieces of any length
	WriteFirst(block []byte) error // the first 4096 bytes, once, after the final Write
}

// Tee returns a Sink that passes everything on to each of sinks in turn and
// stops at the first that fails.
func Tee(sinks ...Sink) Sink {
	return tee(sinks)
}

type tee []Sink

func (t tee) Write(p []byte) (int, error) {
	for _, s := range t {
		n, err := s.Write(p)
		if err != nil {
			return n, err
		}
		if n != len(p) {
			return n, io.ErrShortWrite
		}
	}
	return len(p), nil
}

func (t tee) WriteFirst(block []byte) error {
	for _, s := range t {
		if err := s.WriteFirst(block); err != nil {
			return err
		}
	}
	return nil
}
