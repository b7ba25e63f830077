package partitions

import (
	"bytes"
	"fmt"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// BlankSize is how many bytes from a partition's start must be zero for the
// partition to count as blank. Signatures of file systems, LUKS, LVM and swap
// all lie within.
const BlankSize = 1 << 20

// IsBlank says whether a partition holds nothing yet: var is left so by the
// making of a disk and by a factory reset, and gets its file system at the
// next boot.
func IsBlank(dev blockdev.Device) (bool, error) {
	b := make([]byte, min(BlankSize, dev.Size()))
	if err := readFull(dev, b, 0); err != nil {
		return false, fmt.Errorf("looking for a file system: %w", err)
	}
	return bytes.Equal(b, make([]byte, len(b))), nil
}

// Blank makes a partition blank again and syncs it. What was in it can not be
// found as a file system any more; its bytes are not erased.
func Blank(dev blockdev.Device) error {
	// The start comes last: until then the old file system is still known
	// for what it is, and a cut is repeated.
	if tail := min(BlankSize, dev.Size()-BlankSize); tail > 0 {
		if err := blockdev.Zero(dev, dev.Size()-tail, tail); err != nil {
			return fmt.Errorf("blanking the partition's end: %w", err)
		}
		if err := dev.Sync(); err != nil {
			return fmt.Errorf("blanking the partition's end: syncing: %w", err)
		}
	}
	if err := blockdev.Zero(dev, 0, min(BlankSize, dev.Size())); err != nil {
		return fmt.Errorf("blanking the partition: %w", err)
	}
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("blanking the partition: syncing: %w", err)
	}
	return nil
}
