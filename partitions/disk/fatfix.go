package disk

import (
	"encoding/binary"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// finishFAT puts right what go-diskfs leaves wrong or open, and fsck.fat
// complains about: ".." of a directory in the root must name cluster 0, not
// the root's, and FSInfo does not know the free clusters.
func finishFAT(dev blockdev.Device) error {
	f, err := openFAT(dev)
	if err != nil {
		return err
	}
	top, err := f.list(f.root)
	if err != nil {
		return err
	}
	for _, e := range top {
		if !e.dir || !f.valid(e.cluster) {
			continue
		}
		// "." and ".." are a directory's first two entries of 32 bytes; the
		// cluster's halves stand at 20 and 26.
		for _, at := range []int64{32 + 20, 32 + 26} {
			if _, err := dev.WriteAt([]byte{0, 0}, f.off(e.cluster)+at); err != nil {
				return err
			}
		}
	}
	return f.writeFree()
}

// writeFree counts the free clusters for FSInfo and its backup.
func (f *fat) writeFree() error {
	free, first := uint32(0), uint32(0xffffffff)
	for c := f.clusters + 1; c >= 2; c-- {
		if f.next(c) == 0 {
			free, first = free+1, c
		}
	}
	var b [8]byte
	le := binary.LittleEndian
	le.PutUint32(b[0:], free)
	le.PutUint32(b[4:], first)
	info, backup := int64(le.Uint16(f.bpb[48:])), int64(le.Uint16(f.bpb[50:]))
	for _, sector := range []int64{info, backup + info} {
		if _, err := f.dev.WriteAt(b[:], sector*f.sector+488); err != nil {
			return err
		}
	}
	return nil
}
