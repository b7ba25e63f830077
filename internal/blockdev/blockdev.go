// Package blockdev is the seam between code that knows formats and code that
// knows devices: everything above it reads and writes a Device, so that it
// runs the same on a disk, a file, memory, or a recorder of power cuts.
package blockdev

import (
	"errors"
	"fmt"
	"io"
)

// ErrOutOfBounds is returned for an access outside of a Device.
var ErrOutOfBounds = errors.New("out of the device's bounds")

// A Device is a fixed number of bytes that can be read and written anywhere.
// A write is durable only when a Sync that began after it returned nil.
type Device interface {
	io.ReaderAt
	io.WriterAt
	// Size is the length in bytes.
	Size() int64
	// Sync makes every finished write durable. After an error the content of
	// unsynced ranges is unknown; calling Sync again proves nothing.
	Sync() error
}

// An Invalidator is a Device that can forget cached content, so that the next
// read of [off, off+n) comes from the medium.
type Invalidator interface {
	Invalidate(off, n int64) error
}

// Invalidate forgets d's cache for [off, off+n) where d can do that.
func Invalidate(d Device, off, n int64) error {
	if i, ok := d.(Invalidator); ok {
		return i.Invalidate(off, n)
	}
	return nil
}

// A Starter is a Device that can begin to bring what was written to
// [off, off+n) to the medium, so that Sync has less to wait for.
type Starter interface {
	StartSync(off, n int64) error
}

// StartSync begins to make [off, off+n) durable where d can do that. It
// promises nothing.
func StartSync(d Device, off, n int64) error {
	if s, ok := d.(Starter); ok {
		return s.StartSync(off, n)
	}
	return nil
}

// A Zeroer is a Device that can write zeros faster than by writing them.
type Zeroer interface {
	Zero(off, n int64) error
}

const zeroChunk = 1 << 20

// Zero writes n zero bytes at off.
func Zero(d Device, off, n int64) error {
	if z, ok := d.(Zeroer); ok {
		return z.Zero(off, n)
	}
	buf := make([]byte, min(n, zeroChunk))
	for n > 0 {
		c := min(n, int64(len(buf)))
		if _, err := d.WriteAt(buf[:c], off); err != nil {
			return fmt.Errorf("zeroing at byte %d: %w", off, err)
		}
		off, n = off+c, n-c
	}
	return nil
}

// CheckBounds returns an error that wraps ErrOutOfBounds unless
// [off, off+n) lies within [0, size).
func CheckBounds(off, n, size int64) error {
	if off < 0 || n < 0 || off > size || n > size-off {
		return fmt.Errorf("bytes %d+%d of %d: %w", off, n, size, ErrOutOfBounds)
	}
	return nil
}
