package verity

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The superblock, little endian, as struct verity_sb in cryptsetup's
// lib/verity/verity.c:
//
//	  0   8  "verity\0\0"
//	  8   4  version: 1
//	 12   4  hash type: 1
//	 16  16  UUID
//	 32  32  algorithm: "sha256", zero-filled
//	 64   4  data block size
//	 68   4  hash block size
//	 72   8  number of data blocks
//	 80   2  length of the salt
//	 82   6  zero
//	 88 256  salt, zero-filled
//	344 168  zero
//
// It fills the first 512 bytes of a block; the rest of the block is zero.
type superblock struct {
	uuid       [16]byte
	salt       []byte
	dataBlocks uint64
}

const sbMagic = "verity\x00\x00"

var sbAlgorithm = [32]byte{'s', 'h', 'a', '2', '5', '6'}

func (sb superblock) encode() []byte {
	b := make([]byte, BlockSize)
	copy(b, sbMagic)
	binary.LittleEndian.PutUint32(b[8:], 1)
	binary.LittleEndian.PutUint32(b[12:], 1)
	copy(b[16:], sb.uuid[:])
	copy(b[32:], sbAlgorithm[:])
	binary.LittleEndian.PutUint32(b[64:], BlockSize)
	binary.LittleEndian.PutUint32(b[68:], BlockSize)
	binary.LittleEndian.PutUint64(b[72:], sb.dataBlocks)
	binary.LittleEndian.PutUint16(b[80:], uint16(len(sb.salt)))
	copy(b[88:], sb.salt)
	return b
}

// decodeSuperblock accepts the one kind of superblock that encode writes.
func decodeSuperblock(b []byte) (superblock, error) {
	var sb superblock
	if string(b[:8]) != sbMagic {
		return sb, fmt.Errorf("no verity signature: %w", ErrCorrupt)
	}
	for _, f := range []struct {
		name string
		off  int
		want uint32
	}{
		{"version", 8, 1},
		{"hash type", 12, 1},
		{"data block size", 64, BlockSize},
		{"hash block size", 68, BlockSize},
	} {
		if got := binary.LittleEndian.Uint32(b[f.off:]); got != f.want {
			return sb, fmt.Errorf("%s is %d; want %d: %w", f.name, got, f.want, ErrCorrupt)
		}
	}
	if !bytes.Equal(b[32:64], sbAlgorithm[:]) {
		return sb, fmt.Errorf("hash algorithm is %q; want sha256: %w", bytes.TrimRight(b[32:64], "\x00"), ErrCorrupt)
	}
	n := binary.LittleEndian.Uint16(b[80:])
	if n > MaxSaltSize {
		return sb, fmt.Errorf("salt of %d bytes: %w", n, ErrCorrupt)
	}
	copy(sb.uuid[:], b[16:32])
	sb.salt = bytes.Clone(b[88 : 88+n])
	sb.dataBlocks = binary.LittleEndian.Uint64(b[72:])
	if sb.dataBlocks == 0 {
		return sb, fmt.Errorf("no data blocks: %w", ErrCorrupt)
	}
	if !bytes.Equal(b, sb.encode()) {
		return sb, fmt.Errorf("bytes that should be zero are not: %w", ErrCorrupt)
	}
	return sb, nil
}
