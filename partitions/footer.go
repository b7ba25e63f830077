package partitions

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/abupdate/abupdate/internal/manifest"
)

// FooterSize is the length of a slot's footer: the partition's last bytes.
const FooterSize = 4096

// FooterVersion is the version of the slot format that this package writes.
const FooterVersion = 1

// MaxSignatures bounds the signatures that a slot holds, in bytes.
const MaxSignatures = 64 << 10

// MaxLayers bounds the list of layers that a slot holds, in bytes.
const MaxLayers = 16 << 20

const (
	slotAlign   = 4096
	footerMagic = "ABUPSLOT"
	footerCRC   = FooterSize - 4 // offset of the CRC over all before it
	footerUsed  = 144            // all from here to the CRC is zero
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Footer says where everything in a slot is. Offsets and sizes are in bytes,
// offsets from the partition's start; all integers are little endian.
//
//	 0  magic "ABUPSLOT"                    64  signatures' offset
//	 8  version u16, header length u16      72  signatures' size
//	12  reserved u32, zero                  80  CRC32C of the manifest u32
//	16  slot's size                         84  CRC32C of the signatures u32
//	24  image's size, from 0                88  root hash, 32 bytes
//	32  hash tree's offset (superblock)    120  list of layers' offset
//	40  hash tree's size                   128  list of layers' size
//	48  manifest's offset                  136  CRC32C of it u32
//	56  manifest's size                    140  zero
//	                                      4092  CRC32C of bytes 0 to 4092
//
// The list of layers came later: footers of 128 bytes have zeros there, which
// is no list, and who does not know of it has no need to.
type Footer struct {
	SlotBytes                     int64
	ImageBytes                    int64
	HashOff, TreeBytes            int64
	ManifestOff, ManifestBytes    int64
	SignaturesOff, SignatureBytes int64 // 0 bytes: unsigned
	LayersOff, LayersBytes        int64 // 0, 0: none
	ManifestCRC, SignaturesCRC    uint32
	LayersCRC                     uint32
	RootHash                      [32]byte
}

// Encode returns the footer's bytes.
func (f Footer) Encode() [FooterSize]byte {
	var b [FooterSize]byte
	le := binary.LittleEndian
	copy(b[:], footerMagic)
	le.PutUint16(b[8:], FooterVersion)
	le.PutUint16(b[10:], footerUsed)
	for i, v := range f.words() {
		le.PutUint64(b[16+8*i:], uint64(*v))
	}
	le.PutUint32(b[80:], f.ManifestCRC)
	le.PutUint32(b[84:], f.SignaturesCRC)
	copy(b[88:], f.RootHash[:])
	le.PutUint64(b[120:], uint64(f.LayersOff))
	le.PutUint64(b[128:], uint64(f.LayersBytes))
	le.PutUint32(b[136:], f.LayersCRC)
	le.PutUint32(b[footerCRC:], crc32.Checksum(b[:footerCRC], castagnoli))
	return b
}

// words are the footer's first 64-bit fields in the order of their offsets.
func (f *Footer) words() [8]*int64 {
	return [...]*int64{
		&f.SlotBytes, &f.ImageBytes, &f.HashOff, &f.TreeBytes,
		&f.ManifestOff, &f.ManifestBytes, &f.SignaturesOff, &f.SignatureBytes,
	}
}

// DecodeFooter reads and checks a footer. Errors: ErrEmpty when b is all zero,
// else they wrap ErrNewer or ErrCorrupt.
func DecodeFooter(b []byte) (Footer, error) {
	var f Footer
	if len(b) != FooterSize {
		return f, fmt.Errorf("slot footer of %d bytes, want %d: %w", len(b), FooterSize, ErrCorrupt)
	}
	if bytes.Equal(b, make([]byte, FooterSize)) {
		return f, ErrEmpty
	}
	le := binary.LittleEndian
	if !strings.HasPrefix(string(b[:8]), footerMagic) {
		return f, fmt.Errorf("slot footer: magic %q, want %q: %w", b[:8], footerMagic, ErrCorrupt)
	}
	if got, want := crc32.Checksum(b[:footerCRC], castagnoli), le.Uint32(b[footerCRC:]); got != want {
		return f, fmt.Errorf("slot footer: CRC %08x, says %08x: %w", got, want, ErrCorrupt)
	}
	if v := le.Uint16(b[8:]); v != FooterVersion {
		return f, fmt.Errorf("slot footer: version %d; this program knows %d: %w", v, FooterVersion, ErrNewer)
	}
	for i, v := range f.words() {
		*v = int64(le.Uint64(b[16+8*i:]))
	}
	f.ManifestCRC, f.SignaturesCRC = le.Uint32(b[80:]), le.Uint32(b[84:])
	copy(f.RootHash[:], b[88:120])
	f.LayersOff, f.LayersBytes, f.LayersCRC = int64(le.Uint64(b[120:])), int64(le.Uint64(b[128:])), le.Uint32(b[136:])
	return f, f.check()
}

// check makes sure that the parts follow each other and end before the footer.
func (f Footer) check() error {
	err := func() error {
		switch {
		case f.SlotBytes < 2*FooterSize || f.SlotBytes > 1<<50:
			return fmt.Errorf("a slot of %d bytes", f.SlotBytes)
		case f.ImageBytes <= 0 || f.ImageBytes%slotAlign != 0 || f.ImageBytes > f.SlotBytes:
			return fmt.Errorf("an image of %d bytes", f.ImageBytes)
		case f.HashOff != f.ImageBytes:
			return fmt.Errorf("the hash tree at byte %d, the image ends at %d", f.HashOff, f.ImageBytes)
		case f.TreeBytes < slotAlign || f.TreeBytes%slotAlign != 0 || f.TreeBytes > f.SlotBytes:
			return fmt.Errorf("a hash tree of %d bytes", f.TreeBytes)
		case f.ManifestOff != f.HashOff+f.TreeBytes:
			return fmt.Errorf("the manifest at byte %d, the hash tree ends at %d", f.ManifestOff, f.HashOff+f.TreeBytes)
		case f.ManifestBytes <= 0 || f.ManifestBytes > manifest.MaxSize:
			return fmt.Errorf("a manifest of %d bytes", f.ManifestBytes)
		case f.SignaturesOff != f.ManifestOff+align(f.ManifestBytes):
			return fmt.Errorf("signatures at byte %d, want %d", f.SignaturesOff, f.ManifestOff+align(f.ManifestBytes))
		case f.SignatureBytes < 0 || f.SignatureBytes > MaxSignatures:
			return fmt.Errorf("signatures of %d bytes", f.SignatureBytes)
		case f.SignaturesOff+align(f.SignatureBytes) > f.SlotBytes-FooterSize:
			return errors.New("contents that reach into the footer")
		}
		return f.checkLayers()
	}()
	if err != nil {
		return fmt.Errorf("slot footer: tells of %w: %w", err, ErrCorrupt)
	}
	return nil
}

func (f Footer) checkLayers() error {
	end := f.SignaturesOff + align(f.SignatureBytes)
	switch {
	case f.LayersBytes == 0 && f.LayersOff == 0:
		return nil
	case f.LayersBytes <= 0 || f.LayersBytes > MaxLayers:
		return fmt.Errorf("a list of layers of %d bytes", f.LayersBytes)
	case f.LayersOff != end:
		return fmt.Errorf("a list of layers at byte %d, want %d", f.LayersOff, end)
	case end+align(f.LayersBytes) > f.SlotBytes-FooterSize:
		return errors.New("a list of layers that reaches into the footer")
	}
	return nil
}

// align rounds n up to the slot's unit.
func align(n int64) int64 { return (n + slotAlign - 1) / slotAlign * slotAlign }

// Capacity returns the size of the largest image that fits into a slot of
// size bytes with its hash tree, the largest manifest and signatures, and the
// footer; 0 when none does.
func Capacity(size int64) int64 {
	room := size/slotAlign*slotAlign - FooterSize - manifest.MaxSize - MaxSignatures
	// A tree has less than 1/127 of the image: start below the answer, climb.
	n := max(0, room/slotAlign*126/127-16)
	for n+1+treeBlocks(n+1) <= room/slotAlign {
		n++
	}
	if n == 0 || n+treeBlocks(n) > room/slotAlign {
		return 0
	}
	return n * slotAlign
}

// SlotSize returns the size of the smallest slot that holds an image of so
// many bytes.
func SlotSize(image int64) int64 {
	n := align(image) / slotAlign
	return (n+treeBlocks(n))*slotAlign + FooterSize + manifest.MaxSize + MaxSignatures
}

// LayersSize returns how much larger a slot must be to hold a list of layers of
// so many bytes for certain, 0 for one that no slot holds.
func LayersSize(list int) int64 {
	if list > MaxLayers {
		return 0
	}
	return align(int64(list))
}

// treeBlocks is the length of the verity superblock and hash tree over n data
// blocks: 128 hashes of 32 bytes fit into a block.
func treeBlocks(n int64) int64 {
	blocks := int64(1) // superblock
	for n > 1 {
		n = (n + 127) / 128
		blocks += n
	}
	return blocks
}
