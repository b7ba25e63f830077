package delta

import (
	"bytes"
	"fmt"

	"github.com/abupdate/abupdate/verity"
)

const (
	hashSize = 32
	// windowHashes is how many hashes are read at a time: a hash block of
	// the tree, which is the least that a tree in a file reads and checks.
	windowHashes = verity.BlockSize / hashSize
)

// A Source is an image as far as a plan knows it: the hashes of its blocks.
type Source struct {
	Salt   []byte
	Blocks int64
	// Hashes fills p with the hashes of the blocks from number first on.
	Hashes func(p []byte, first int64) error
}

// Of returns the Source that a hash tree is.
func Of(t *verity.Tree) Source {
	return Source{Salt: t.Salt, Blocks: t.DataBlocks, Hashes: t.Hashes}
}

// leaves reads a Source through a window.
type leaves struct {
	src   Source
	buf   []byte
	first int64 // block whose hash is the first in buf
}

func newLeaves(src Source) *leaves { return &leaves{src: src} }

// at returns the hash of block i, good until the next call.
func (l *leaves) at(i int64) ([]byte, error) {
	if off := (i - l.first) * hashSize; off >= 0 && off < int64(len(l.buf)) {
		return l.buf[off : off+hashSize], nil
	}
	if l.buf == nil {
		l.buf = make([]byte, 0, windowHashes*hashSize)
	}
	first := i / windowHashes * windowHashes
	buf := l.buf[:min(windowHashes, l.src.Blocks-first)*hashSize]
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
