package disk

import (
	"encoding/binary"
	"errors"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// finishFAT puts right what go-diskfs leaves wrong or open: every entry gets
// the same time, ".." of a directory in the root names cluster 0 instead of
// the root's, which fsck.fat complains about, clusters that the table has no
// entries for are none, and FSInfo learns of the free ones.
func finishFAT(dev blockdev.Device) error {
	f, err := openFAT(dev)
	if err != nil {
		return err
	}
	if err := f.finishDir(f.root, false, 0); err != nil {
		return err
	}
	if err := f.fit(); err != nil {
		return err
	}
	return f.writeFree()
}

// fit takes sectors off the end that are clusters without an entry in the
// table: mtools read nothing of such a file system.
func (f *fat) fit() error {
	le := binary.LittleEndian
	sectors := uint32((f.dataOff + int64(f.clusters)*f.cluster) / f.sector)
	if sectors >= le.Uint32(f.bpb[32:]) {
		return nil
	}
	backup := int64(le.Uint16(f.bpb[50:]))
	for _, sector := range []int64{0, backup} {
		if _, err := f.dev.WriteAt(le.AppendUint32(nil, sectors), sector*f.sector+32); err != nil {
			return err
		}
	}
	return nil
}

// maxDepth bounds the directories that finishDir goes down into.
const maxDepth = 32

// finishDir rewrites the directory at a cluster, and those in it.
func (f *fat) finishDir(dir uint32, inRoot bool, depth int) error {
	if depth > maxDepth {
		return errors.New("directories are nested too deep")
	}
	b, err := f.read(dir, maxDir)
	if err != nil {
		return err
	}
	var subdirs []uint32
	for e := b; len(e) >= 32 && e[0] != 0; e = e[32:] {
		if e[0] == 0xe5 || e[11]&0x3f == 0x0f { // deleted, or a part of a long name
			continue
		}
		stamp(e[:32])
		switch name := shortName(e); {
		case e[11]&0x10 == 0 || name == ".":
		case name == "..":
			if inRoot {
				setCluster(e, 0)
			}
		default:
			subdirs = append(subdirs, entryCluster(e))
		}
	}
	for c := dir; len(b) > 0; c = f.next(c) {
		if _, err := f.dev.WriteAt(b[:f.cluster], f.off(c)); err != nil {
			return err
		}
		b = b[f.cluster:]
	}
	for _, c := range subdirs {
		if err := f.finishDir(c, dir == f.root, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// stamp sets the times of an entry to FAT's first day, 1980-01-01, so that the
// same files give the same bytes.
func stamp(e []byte) {
	const firstDay = 1<<5 | 1
	clear(e[13:16])                                     // created: fraction, time
	binary.LittleEndian.PutUint16(e[16:], firstDay)     // created
	binary.LittleEndian.PutUint16(e[18:], firstDay)     // read
	binary.LittleEndian.PutUint32(e[22:], firstDay<<16) // written: time, date
}

func entryCluster(e []byte) uint32 {
	return uint32(binary.LittleEndian.Uint16(e[20:]))<<16 | uint32(binary.LittleEndian.Uint16(e[26:]))
}

func setCluster(e []byte, c uint32) {
	binary.LittleEndian.PutUint16(e[20:], uint16(c>>16))
	binary.LittleEndian.PutUint16(e[26:], uint16(c))
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
