package unsquash

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/abupdate/abupdate/internal/fstree"
)

// ErrCorrupt is wrapped by every error for bytes that no squashfs has.
var ErrCorrupt = errors.New("corrupt")

var le = binary.LittleEndian

// An Image is an open squashfs.
type Image struct {
	// Files are sorted by path: a directory stands before what is in it, and
	// the first is the root. Of several names of one object the first has it,
	// the others are Hardlinks.
	Files []File

	r         io.ReaderAt
	sb        superblock
	fragments []fragment
}

// A File is one name in an image.
type File struct {
	fstree.Entry
	inode uint32
	nlink uint32
	data  data
}

// data is where a regular file's content stands.
type data struct {
	start    int64    // of its blocks, bytes from the start of the image
	blocks   []uint32 // their stored lengths, with notCompressed
	fragment uint32   // the block with its end, or none
	offset   uint32   // there, bytes
}

const (
	none          = math.MaxUint32
	notCompressed = 1 << 24 // in the length of a data block
)

// A fragment is where a block with the ends of files stands.
type fragment struct {
	start  int64
	stored uint32 // length, with notCompressed
}

// Open reads the names and metadata of the image that r holds in its first
// size bytes.
func Open(r io.ReaderAt, size int64) (*Image, error) {
	l, err := open(r, size)
	if err != nil {
		return nil, err
	}
	if err := l.load(); err != nil {
		return nil, fmt.Errorf("reading the squashfs: %w", err)
	}
	return l.im, nil
}

func open(r io.ReaderAt, size int64) (*loader, error) {
	b := make([]byte, superblockSize)
	if err := readFull(r, b, 0); err != nil {
		return nil, fmt.Errorf("reading the squashfs: superblock: %w", err)
	}
	im := &Image{r: r}
	var err error
	if im.sb, err = decodeSuperblock(b, size); err != nil {
		return nil, fmt.Errorf("reading the squashfs: superblock: %w", err)
	}
	return &loader{im: im, meta: newMetadata(im)}, nil
}

const superblockSize = 96

type superblock struct {
	blockSize                  int
	compression                uint16
	fragments                  uint32
	ids                        uint16
	rootInode                  uint64
	bytesUsed                  int64
	idTable, xattrTable        int64 // -1 for none
	inodeTable, directoryTable int64
	fragmentTable              int64 // -1 for none
}

func decodeSuperblock(b []byte, size int64) (superblock, error) {
	s := superblock{
		blockSize:      int(le.Uint32(b[12:])),
		fragments:      le.Uint32(b[16:]),
		compression:    le.Uint16(b[20:]),
		ids:            le.Uint16(b[26:]),
		rootInode:      le.Uint64(b[32:]),
		bytesUsed:      int64(le.Uint64(b[40:])),
		idTable:        int64(le.Uint64(b[48:])),
		xattrTable:     int64(le.Uint64(b[56:])),
		inodeTable:     int64(le.Uint64(b[64:])),
		directoryTable: int64(le.Uint64(b[72:])),
		fragmentTable:  int64(le.Uint64(b[80:])),
	}
	log, major, minor := le.Uint16(b[22:]), le.Uint16(b[28:]), le.Uint16(b[30:])
	switch {
	case string(b[:4]) != "hsqs":
		return s, fmt.Errorf("no squashfs: magic %q: %w", b[:4], ErrCorrupt)
	case major != 4 || minor != 0:
		return s, fmt.Errorf("version %d.%d; this program knows 4.0: %w", major, minor, ErrCorrupt)
	case log < 12 || log > 20 || s.blockSize != 1<<log:
		return s, fmt.Errorf("blocks of %d bytes: %w", s.blockSize, ErrCorrupt)
	case s.bytesUsed < superblockSize || s.bytesUsed > size:
		return s, fmt.Errorf("%d bytes used, of %d: %w", s.bytesUsed, size, ErrCorrupt)
	case s.compression != gzipCompression && s.compression != zstdCompression:
		return s, fmt.Errorf("compression %d; this program knows gzip and zstd: %w", s.compression, ErrCorrupt)
	}
	return s, nil
}

// readFull reads all of p; an image that ends before is corrupt.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("ends at byte %d: %w", off+int64(n), ErrCorrupt)
	}
	return err
}
