package squashfs

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/abupdate/abupdate/internal/fstree"
)

// Stats says what a Writer wrote.
type Stats struct {
	Bytes  int64 // length of the image, a multiple of 4096
	Used   int64 // the same without the padding at the end: bytes_used
	Files  int   // regular files, hardlinks not counted
	Inodes int
	Links  int // further names of an inode

	DataIn  int64 // bytes of content given to File
	DataOut int64 // bytes of blocks and fragment blocks in the image
	Padding int64 // bytes that only align what follows
	Tables  int64 // bytes of inodes, directories and the other tables

	Holes          int64 // bytes of all-zero blocks, which take no room
	Duplicates     int   // files whose content was there already
	DuplicateBytes int64
	Fragments      int
	FragmentBytes  int64 // bytes of content in them, before compression
	ClampedTimes   int   // times before 1970 or after 2106, moved to the nearest
}

// A Writer makes one image: File takes the contents, Close the names. Its
// methods are for one goroutine; after one has returned an error the image
// cannot be finished, all goroutines have ended and every further call returns
// the same error.
type Writer struct {
	opt      Options
	out      *output
	pipe     *pipeline
	contents contents
	tagger   *tagger
	whole    []byte // a file of up to wholeLimit
	group    group
	runs     uint32
	stats    Stats
	err      error // why nothing more can be done; errClosed after Close
}

var (
	errClosed  = errors.New("writing a squashfs: already closed")
	errAborted = errors.New("writing a squashfs: aborted")
)

// NewWriter returns a Writer that sends an image to sink. Close or Abort ends
// its goroutines.
func NewWriter(sink Sink, opt Options) (*Writer, error) {
	opt = opt.withDefaults()
	if err := opt.validate(); err != nil {
		return nil, err
	}
	w := &Writer{opt: opt, out: newOutput(sink)}
	var err error
	if w.tagger, err = newTagger(); err != nil {
		return nil, err
	}
	if w.pipe, err = startPipeline(opt, w.out); err != nil {
		return nil, err
	}
	return w, nil
}

// File takes the content of one regular file, which must have exactly size
// bytes, and returns what a tree's SetContent wants. The path steers which
// small files are packed together, and stands in errors; nothing else of a file
// needs to be known yet. A content that no name in the tree has stays in the
// image all the same.
func (w *Writer) File(path string, size int64, r io.Reader) (fstree.Content, error) {
	if w.err != nil {
		return fstree.NoContent, w.err
	}
	i, err := w.addContent(path, size, r)
	if sinkErr := w.pipe.failed(); sinkErr != nil {
		return fstree.NoContent, w.fail(sinkErr)
	}
	if err != nil {
		return fstree.NoContent, w.fail(fmt.Errorf("adding %q: %w", path, err))
	}
	return fstree.Content(i), nil
}

// Rest gives back most of the memory that the Writer takes, until the next File
// if there is one, for when something else needs room before Close.
func (w *Writer) Rest() {
	if w.err == nil {
		w.pipe.rest()
		w.whole = nil
		runtime.GC() // else the heap grows before it finds out
	}
}

// Abort ends the Writer without finishing the image. After Close it does
// nothing, so that it can be deferred.
func (w *Writer) Abort() {
	if w.err == nil {
		w.fail(errAborted)
	}
}

// fail ends the goroutines and makes err the answer from now on.
func (w *Writer) fail(err error) error {
	w.err = err
	w.pipe.finish()
	w.release()
	return err
}

// release lets go of everything that takes room.
func (w *Writer) release() {
	*w = Writer{err: w.err, stats: w.stats}
}
