// Package squashfs writes squashfs 4.0 images in one forward pass.
package squashfs

import (
	"errors"
	"io"

	"github.com/abupdate/abupdate/internal/fstree"
)

// Stats says what a Writer wrote.
type Stats struct {
	Bytes   int64 // length of the image, a multiple of 4096
	Files   int   // regular files, hardlinks not counted
	Inodes  int
	DataIn  int64 // bytes of content given to Add
	DataOut int64 // bytes of blocks and fragments in the image, without padding
}

// A Writer makes one image.
type Writer struct {
	sink Sink
	opt  Options
}

// NewWriter returns a Writer that sends an image to sink.
func NewWriter(sink Sink, opt Options) (*Writer, error) {
	opt = opt.withDefaults()
	if err := opt.validate(); err != nil {
		return nil, err
	}
	return &Writer{sink: sink, opt: opt}, nil
}

// Add puts one object into the image.
func (w *Writer) Add(e fstree.Entry, content io.Reader) error {
	return errors.New("adding: being written")
}

// Close writes the tables and the superblock.
func (w *Writer) Close() (Stats, error) {
	return Stats{}, errors.New("closing: being written")
}

// Abort ends the Writer without finishing the image. After Close it does
// nothing, so that it can be deferred.
func (w *Writer) Abort() {}
