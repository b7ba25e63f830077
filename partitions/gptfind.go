package partitions

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// findTable returns the copy of the partition table to trust: the primary one
// if it is whole, else a backup. A backup is looked for in the disk's last
// sector, where the damaged primary header says it is, and where the
// protective MBR ends: a disk that grew has it in its middle.
func findTable(dev blockdev.Device) (*gptTable, error) {
	var errs []error
	for _, sector := range []int64{512, 4096} {
		t, err := readTable(dev, sector, 1)
		if err == nil {
			return t, nil
		}
		errs = append(errs, err)
	}
	for _, sector := range []int64{512, 4096} {
		for _, lba := range backupPlaces(dev, sector) {
			t, err := readTable(dev, sector, lba)
			if err == nil {
				return t, nil
			}
			errs = append(errs, err)
		}
	}
	return nil, summarize(errs)
}

// summarize picks the error that says most: damage before absence.
func summarize(errs []error) error {
	for _, err := range errs {
		if errors.Is(err, ErrCorrupt) {
			return fmt.Errorf("reading the partition table: no copy is whole: %w", err)
		}
	}
	for _, err := range errs {
		if !errors.Is(err, errNoGPT) {
			return fmt.Errorf("reading the partition table: %w", err)
		}
	}
	return errNoGPT
}

// backupPlaces lists where a backup header may be, most likely first. It
// reads without trusting, so every place has yet to prove itself by its CRC.
func backupPlaces(dev blockdev.Device, sector int64) []uint64 {
	if dev.Size() < 3*sector {
		return nil
	}
	places := []uint64{uint64(dev.Size()/sector) - 1}
	b := make([]byte, 2*sector)
	if readFull(dev, b, 0) != nil {
		return places
	}
	if hdr := b[sector:]; bytes.HasPrefix(hdr, []byte(gptSignature)) {
		places = append(places, binary.LittleEndian.Uint64(hdr[32:]))
	}
	if size := protectiveSize(b[:512]); size > 0 {
		places = append(places, size)
	}
	return places
}

const (
	mbrEntryOff      = 446
	mbrEntryEnd      = 510
	mbrTypeOff       = mbrEntryOff + 4
	mbrStartOff      = mbrEntryOff + 8
	mbrSizeOff       = mbrEntryOff + 12
	mbrProtective    = 0xee
	mbrMaxSize       = 0xffffffff
	mbrFirstEntryEnd = mbrEntryOff + 16
)

// protectiveSize is the number of sectors that the protective MBR covers,
// which is the LBA of the disk's last sector when it was written; 0 when b is
// no protective MBR.
func protectiveSize(b []byte) uint64 {
	if b[510] != 0x55 || b[511] != 0xaa || b[mbrTypeOff] != mbrProtective {
		return 0
	}
	if binary.LittleEndian.Uint32(b[mbrStartOff:]) != 1 {
		return 0
	}
	return uint64(binary.LittleEndian.Uint32(b[mbrSizeOff:]))
}

// protectiveMBR returns sector 0 of a disk of so many sectors: old with the
// protective entry's size brought up to date, boot code and all else kept. A
// sector that holds no partition at all gets the entry; one with other
// partitions (a hybrid MBR) is left as it is.
func protectiveMBR(old []byte, sectors uint64) []byte {
	b := bytes.Clone(old)
	blank := bytes.Equal(b[mbrEntryOff:mbrEntryEnd], make([]byte, mbrEntryEnd-mbrEntryOff))
	if protectiveSize(b) == 0 && !blank {
		return b
	}
	if blank {
		// CHS 0/0/2 to the largest, as UEFI 2.10, table 5-4 wants it.
		copy(b[mbrEntryOff:mbrFirstEntryEnd], []byte{0, 0, 2, 0, mbrProtective, 0xff, 0xff, 0xff, 1, 0, 0, 0})
		b[510], b[511] = 0x55, 0xaa
	}
	binary.LittleEndian.PutUint32(b[mbrSizeOff:], uint32(min(sectors-1, mbrMaxSize)))
	return b
}
