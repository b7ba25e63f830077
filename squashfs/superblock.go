package squashfs

import "math/bits"

const superblockSize = 96

// Flags of the superblock: what is stored uncompressed, and that equal contents
// are stored once and inodes can be found by number.
const (
	flagNoInodes    = 1 << 0
	flagNoData      = 1 << 1
	flagNoFragments = 1 << 3
	flagDuplicates  = 1 << 6
	flagExport      = 1 << 7
	flagNoXattrs    = 1 << 8
	flagNoIDs       = 1 << 11
)

// A superblock is block 0's content.
type superblock struct {
	inodes, fragments                          uint32
	ids                                        uint16
	rootInode, bytesUsed                       uint64
	idTable, xattrTable, inodeTable            uint64
	directoryTable, fragmentTable, exportTable uint64
}

func (s *superblock) encode(opt Options) []byte {
	flags, compression := uint16(flagDuplicates|flagExport), uint16(6)
	switch opt.Compression {
	case Gzip:
		compression = 1
	case None: // the number must still be that of a decoder the kernel has
		compression = 1
		flags |= flagNoInodes | flagNoData | flagNoFragments | flagNoXattrs | flagNoIDs
	}
	b := append(make([]byte, 0, superblockSize), "hsqs"...)
	b = le.AppendUint32(b, s.inodes)
	b = le.AppendUint32(b, clampTime(opt.ModTime))
	b = le.AppendUint32(b, uint32(opt.BlockSize))
	b = le.AppendUint32(b, s.fragments)
	b = le.AppendUint16(b, compression)
	b = le.AppendUint16(b, uint16(bits.TrailingZeros(uint(opt.BlockSize))))
	b = le.AppendUint16(b, flags)
	b = le.AppendUint16(b, s.ids)
	b = le.AppendUint16(b, 4) // version 4.0
	b = le.AppendUint16(b, 0)
	for _, v := range []uint64{s.rootInode, s.bytesUsed, s.idTable, s.xattrTable, s.inodeTable, s.directoryTable, s.fragmentTable, s.exportTable} {
		b = le.AppendUint64(b, v)
	}
	return b
}
