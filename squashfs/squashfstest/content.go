// Package squashfstest makes trees that are hard to store and writes down what
// a file system holds, so that an image can be compared with what went into it
// on any reader: the kernel, unsquashfs, another library.
package squashfstest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
)

// A Content makes up the bytes of a file from their positions, so that a file
// of any length takes no room.
type Content struct {
	size int64
	fill func(block uint64, p *[fillSize]byte) // the bytes of one block
}

const fillSize = 4096

// Size is the length in bytes.
func (c Content) Size() int64 { return c.size }

// Reader returns the content from its start.
func (c Content) Reader() io.Reader { return io.NewSectionReader(c, 0, c.size) }

// ReadAt implements io.ReaderAt.
func (c Content) ReadAt(p []byte, off int64) (int, error) {
	var block [fillSize]byte
	n := 0
	for n < len(p) && off < c.size {
		c.fill(uint64(off/fillSize), &block)
		piece := block[off%fillSize:]
		piece = piece[:min(int64(len(piece)), c.size-off)]
		m := copy(p[n:], piece)
		n += m
		off += int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Noise cannot be compressed.
func Noise(seed uint64, size int64) Content {
	return Content{size, func(block uint64, p *[fillSize]byte) {
		x := seed*0x9e3779b97f4a7c15 ^ block*0xd1342543de82ef95
		for i := 0; i < fillSize; i += 8 {
			x += 0x9e3779b97f4a7c15
			z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
			z = (z ^ z>>27) * 0x94d049bb133111eb
			binary.LittleEndian.PutUint64(p[i:], z^z>>31)
		}
	}}
}

var words = strings.Fields(`the slot of a disk holds one image and its tree while boot counts down from three
	until somebody confirms that what runs is good or falls back to what ran before; root hash salt block digest layer
	superblock fragment inode table return error if nil for range func string int64 byte`)

// phrases of a few words each: a block of text has few of them twice.
var phrases = sync.OnceValue(func() []string {
	rng := rand.New(rand.NewPCG(1, 2))
	list := make([]string, 4096)
	for i := range list {
		for len(list[i]) < 24 {
			list[i] += words[rng.IntN(len(words))] + " "
		}
	}
	return list
})

// Text compresses as text does, to about a third.
func Text(seed uint64, size int64) Content {
	return Content{size, func(block uint64, p *[fillSize]byte) {
		x, list := seed^block*0x9e3779b97f4a7c15|1, phrases()
		for i := 0; i < fillSize; {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			i += copy(p[i:], list[(x>>20)%uint64(len(list))])
		}
	}}
}

// Zero is all zero bytes.
func Zero(size int64) Content {
	return Content{size, func(_ uint64, p *[fillSize]byte) { clear(p[:]) }}
}

// WithHole is c with the bytes of [from, to) zero, in whole units of 4 KiB.
func WithHole(c Content, from, to int64) Content {
	return Content{c.size, func(block uint64, p *[fillSize]byte) {
		if off := int64(block) * fillSize; off >= from && off < to {
			clear(p[:])
			return
		}
		c.fill(block, p)
	}}
}

// sampledSize is the length from which on a listing reads only parts of a
// file: a guest without acceleration would take minutes for all of it.
const sampledSize = 256 << 20

// sum returns the SHA-256 of a content, or of samples from it.
func sum(r io.ReaderAt, size int64) (string, error) {
	h := sha256.New()
	if size < sampledSize {
		if n, err := io.Copy(h, io.NewSectionReader(r, 0, size)); err != nil || n != size {
			return "", fmt.Errorf("reading content: %d of %d bytes: %w", n, size, err)
		}
		return hex.EncodeToString(h.Sum(nil)), nil
	}
	const samples, length = 61, 128 << 10
	step := (size - length) / (samples - 1)
	for i := range int64(samples) {
		off := i * step
		if i == samples-1 {
			off = size - length
		}
		if n, err := io.Copy(h, io.NewSectionReader(r, off, length)); err != nil || n != length {
			return "", fmt.Errorf("reading content at byte %d: %d of %d bytes: %w", off, n, length, err)
		}
	}
	return "sampled-" + hex.EncodeToString(h.Sum(nil)), nil
}
