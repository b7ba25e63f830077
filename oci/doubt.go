package oci

import (
	"errors"
	"io"

	"github.com/abupdate/abupdate/internal/fault"
)

// A doubter is a reader of something remote. Distrust says that what it gave
// is wrong: whoever it came from is asked no more. It returns whether there is
// somebody else, so that reading it again may go well.
type doubter interface {
	Distrust(cause error) bool
}

// An elsewhereError is about what is wrong here, and may be right elsewhere.
type elsewhereError struct{ error }

func (e *elsewhereError) Unwrap() error { return e.error }

// Elsewhere says of an error that came from reading a blob whether it is worth
// another try: a mirror gave something wrong, and is asked no more.
func Elsewhere(err error) bool {
	var e *elsewhereError
	return errors.As(err, &e)
}

// doubt returns the error of reading what rc gives, with word of whether it may
// be had elsewhere.
func doubt(rc any, err error) error {
	if err == nil || err == io.EOF || fault.KindOf(err) != fault.Verify || !distrust(rc, err) {
		return err
	}
	return &elsewhereError{err}
}

func distrust(rc any, cause error) bool {
	d, ok := rc.(doubter)
	return ok && d.Distrust(cause)
}

// A doubtedReader reads a blob through a check.
type doubtedReader struct {
	check io.Reader
	io.Closer
}

func (r *doubtedReader) Read(p []byte) (int, error) {
	n, err := r.check.Read(p)
	return n, doubt(r.Closer, err)
}

func (r *doubtedReader) Distrust(cause error) bool { return distrust(r.Closer, cause) }

func (c *countingReader) Distrust(cause error) bool { return distrust(c.ReadCloser, cause) }

func (e *exactReader) Distrust(cause error) bool { return distrust(e.ReadCloser, cause) }

// Distrust may be called when the blob is closed.
func (b *remoteBlob) Distrust(cause error) bool { return b.tries.Distrust(b.ctx, cause) }

// A wrongError is about an answer that is none to what was asked.
type wrongError struct{ error }

func (e *wrongError) Unwrap() error { return e.error }

// wrong makes an error of a wrong answer.
func wrong(kind fault.Kind, format string, args ...any) error {
	return &wrongError{fault.Errorf(kind, format, args...)}
}

// isWrong says whether an answer was none, so that somebody else is asked.
func (b *remoteBlob) isWrong(err error) bool {
	var w *wrongError
	return errors.As(err, &w) && b.Distrust(err)
}
