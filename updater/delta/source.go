package delta

import (
	"bytes"
	"fmt"

	"github.com/abupdate/abupdate/verity"
)

const (
	hashSize = verity.HashSize
	// windowHashes is how many hashes are read at a time from one end to the
	// other: what a tree in a file reads and checks at once.
	windowHashes = 64 << 10 / hashSize
	// probeHashes is how many are read for the sake of one.
	probeHashes = verity.BlockSize / hashSize
)

// A Source is an image as far as a plan knows it: the hashes of its blocks.
type Source struct {
	Salt   []byte
	Blocks int64
	// Hashes fills p with the hashes of the blocks from number first on. Of
	// an old image it is called once for each of them, in order.
	Hashes func(p []byte, first int64) error

	// Under says that the new image is written over this one, in order, so
	// that a block serves places up to its own only. It stays where it is if
	// that is the place of an equal one; else any other source comes first.
	Under bool
	// Gone are blocks of such an image that are lost from the start.
	Gone Range
}

// Of returns the Source that a hash tree is.
func Of(t *verity.Tree) Source {
	return Source{Salt: t.Salt, Blocks: t.DataBlocks, Hashes: t.Hashes}
}

// leaves reads a Source through a window.
type leaves struct {
	src    Source
	window int64 // hashes
	buf    []byte
	first  int64 // block whose hash is the first in buf
}

func newLeaves(src Source, window int64) *leaves { return &leaves{src: src, window: window} }

// at returns the hash of block i, good until the next call.
func (l *leaves) at(i int64) ([]byte, error) {
	if off := (i - l.first) * hashSize; off >= 0 && off < int64(len(l.buf)) {
		return l.buf[off : off+hashSize], nil
	}
	if l.buf == nil {
		l.buf = make([]byte, 0, min(l.window, l.src.Blocks)*hashSize)
	}
	first := i / l.window * l.window
	buf := l.buf[:min(l.window, l.src.Blocks-first)*hashSize]
	l.buf = l.buf[:0]
	if err := l.src.Hashes(buf, first); err != nil {
		return nil, fmt.Errorf("reading the hashes of blocks from %d on: %w", first, err)
	}
	l.buf, l.first = buf, first
	return buf[(i-first)*hashSize:][:hashSize], nil
}

// is says whether block i has the hash sum; there may be no such block.
func (l *leaves) is(i int64, sum []byte) (bool, error) {
	if i >= l.src.Blocks {
		return false, nil
	}
	got, err := l.at(i)
	return err == nil && bytes.Equal(got, sum), err
}
