package initramfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
)

// Kinds of content that are not file systems to mount.
const (
	fsBlank   = "blank"
	fsUnknown = "something unknown"
)

// A filesystem is what probe found on a partition.
type filesystem struct {
	kind  string // as mount(2) takes it, fsBlank, or words
	size  int64  // bytes that it covers; 0: not known
	clean bool   // was unmounted, and nothing is known to be wrong with it
}

// mountable says whether kind is a type to give to mount(2).
func (f filesystem) mountable() bool {
	switch f.kind {
	case "ext4", "btrfs", "xfs", "f2fs":
		return true
	}
	return false
}

// headSize is where the signatures end, with the superblocks that they are in:
// what is read at every boot.
const headSize = 128 << 10

// signatures of what may be found on a partition, all of them within headSize.
// ext2, ext3 and ext4 share one; the kernel's ext4 mounts them all.
var signatures = []struct {
	kind  string
	off   int
	magic string
}{
	{"ext4", 1024 + 0x38, "\x53\xef"},
	{"btrfs", 64<<10 + 64, "_BHRfS_M"},
	{"xfs", 0, "XFSB"},
	{"f2fs", 1024, "\x10\x20\xf5\xf2"},
	{"a LUKS volume", 0, "LUKS\xba\xbe"},
	{"a LVM volume", 512, "LABELONE"},
	{"a squashfs", 0, "hsqs"},
	{"swap space", 4096 - 10, "SWAPSPACE2"},
	{"NTFS", 3, "NTFS    "},
	{"bcachefs", 4096 + 24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9"},
	{"FAT", 0x52, "FAT32   "},
	{"FAT", 0x36, "FAT16   "},
}

// probe looks at what a partition holds. It never guesses: anything that is
// neither known nor all zero is fsUnknown.
func probe(dev blockdev.Device) (filesystem, error) {
	head, err := readStart(dev, headSize)
	if err != nil {
		return filesystem{}, err
	}
	for _, s := range signatures {
		if len(head) >= s.off+len(s.magic) && string(head[s.off:s.off+len(s.magic)]) == s.magic {
			return describe(s.kind, head), nil
		}
	}
	all, err := readStart(dev, partitions.BlankSize)
	if err != nil {
		return filesystem{}, err
	}
	if len(bytes.Trim(all, "\x00")) == 0 {
		return filesystem{kind: fsBlank}, nil
	}
	return filesystem{kind: fsUnknown}, nil
}

// readStart reads the first n bytes of a partition, or as many as it has. mkfs
// and the kernel write through another cache than this one.
func readStart(dev blockdev.Device, n int64) ([]byte, error) {
	b := make([]byte, min(n, dev.Size()))
	if err := blockdev.Invalidate(dev, 0, int64(len(b))); err != nil {
		return nil, err
	}
	if n, err := dev.ReadAt(b, 0); n < len(b) {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("reading the partition at byte %d: %w", n, err)
	}
	return b, nil
}

// describe reads the size, and of ext4 whether it is clean, from a superblock
// (Documentation/filesystems/ext4/super.rst; btrfs: ctree.h).
func describe(kind string, b []byte) filesystem {
	f := filesystem{kind: kind}
	le := binary.LittleEndian
	switch kind {
	case "ext4":
		const (
			stateValid, stateError = 1, 2
			incompatRecover        = 0x4
			incompat64Bit          = 0x80
		)
		sb := b[1024:2048]
		incompat := le.Uint32(sb[0x60:])
		blocks := uint64(le.Uint32(sb[0x4:]))
		if incompat&incompat64Bit != 0 {
			blocks |= uint64(le.Uint32(sb[0x150:])) << 32
		}
		if shift := le.Uint32(sb[0x18:]); shift <= 6 && blocks < 1<<46 {
			f.size = int64(blocks) << (10 + shift)
		}
		state := le.Uint16(sb[0x3a:])
		f.clean = state&stateValid != 0 && state&stateError == 0 && incompat&incompatRecover == 0
	case "btrfs":
		if size := le.Uint64(b[64<<10+0x70:]); size < 1<<60 {
			f.size = int64(size)
		}
	}
	return f
}
