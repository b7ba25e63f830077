// Package verity makes and checks dm-verity hash trees: the on-disk format of
// cryptsetup's veritysetup, hash type 1, SHA-256, data and hash blocks of
// 4096 bytes. What it writes is what `veritysetup format` writes with the same
// salt and UUID.
//
// See the kernel's Documentation/admin-guide/device-mapper/verity.rst and
// lib/verity in cryptsetup.
package verity

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"sync"
)

const (
	// BlockSize is the size of data blocks and of hash blocks, in bytes.
	BlockSize = 4096
	// MaxSaltSize is the longest salt that a superblock holds, in bytes.
	MaxSaltSize = 256

	hashSize       = HashSize
	hashesPerBlock = BlockSize / hashSize
)

// ErrCorrupt is wrapped by every error for bytes that are not what their hash
// or format says.
var ErrCorrupt = errors.New("corrupt")

// DefaultSalt and DefaultUUID are the same for all images: a block that two
// images share then has one hash, which is what a delta is found by, and
// equal images have equal trees. The salt keeps these hashes apart from those
// of other uses.
var (
	DefaultSalt = []byte("abupdate/verity/1\x00\x9d\x1f\x5e\x3a\xc7\x42\x88\x0b\xe6\x71\xd4\x29\xf3\x6c\xb5")
	DefaultUUID = [16]byte{0xab, 0x0d, 0xa7, 0xe0, 0x5d, 0x1e, 0x4c, 0x6b, 0x9a, 0x33, 0x7e, 0x20, 0x8f, 0x41, 0xc2, 0x01}
)

// HashSize is the length of a hash, in bytes.
const HashSize = sha256.Size

// Params are what the superblock holds besides sizes. The zero value means
// no salt and a zero UUID; see DefaultParams.
type Params struct {
	Salt []byte // at most MaxSaltSize bytes
	UUID [16]byte
}

// DefaultParams returns DefaultSalt and DefaultUUID.
func DefaultParams() Params { return Params{DefaultSalt, DefaultUUID} }

func (p Params) validate() error {
	if len(p.Salt) > MaxSaltSize {
		return fmt.Errorf("salt of %d bytes; at most %d", len(p.Salt), MaxSaltSize)
	}
	return nil
}

// HashBlock returns the salted hash of one block of BlockSize bytes.
func (p Params) HashBlock(block []byte) [sha256.Size]byte {
	var sum [hashSize]byte
	hashBlocks(sum[:], block, p.Salt)
	return sum
}

// HashBlocks puts the salted hash of each block of data, whole blocks, into sums.
func (p Params) HashBlocks(sums, data []byte) { hashBlocks(sums, data, p.Salt) }

// hashBlocks puts the salted hash of each block of src into dst.
func hashBlocks(dst, src, salt []byte) {
	h := sha256.New()
	for len(src) > 0 {
		h.Reset()
		h.Write(salt)
		h.Write(src[:BlockSize])
		h.Sum(dst[:0])
		dst, src = dst[hashSize:], src[BlockSize:]
	}
}

// parallelMin is the least that is worth a goroutine of its own, in bytes:
// about 0.2 ms of hashing.
const parallelMin = 64 << 10

// hashParallel is hashBlocks on all processors.
func hashParallel(dst, src, salt []byte) {
	n := min(runtime.GOMAXPROCS(0), len(src)/parallelMin)
	if n < 2 {
		hashBlocks(dst, src, salt)
		return
	}
	share := (len(src)/BlockSize + n - 1) / n
	var wg sync.WaitGroup
	for len(src) > 0 {
		c := min(share, len(src)/BlockSize)
		d, s := dst[:c*hashSize], src[:c*BlockSize]
		wg.Go(func() { hashBlocks(d, s, salt) })
		dst, src = dst[c*hashSize:], src[c*BlockSize:]
	}
	wg.Wait()
}
