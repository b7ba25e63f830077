package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf16"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// A fat reads a FAT32 file system (Microsoft's FAT specification 1.03). It
// trusts nothing that it reads: go-diskfs, which writes the ESP, follows a
// cluster chain for ever when it is a ring, and reads wrong bytes when a file
// is read in pieces.
type fat struct {
	dev      blockdev.Device
	cluster  int64 // bytes
	dataOff  int64 // of cluster 2
	clusters uint32
	root     uint32
	table    []byte // the first FAT
	bpb      []byte // sector 0
	sector   int64
}

var errFAT = errors.New("no sound FAT32 file system")

// Bounds for what a fat holds in memory.
const (
	maxFAT = 64 << 20
	maxDir = 2 << 20
	// maxLongName is how many characters the pieces of a long name hold.
	maxLongName = 20 * 13
)

func openFAT(dev blockdev.Device) (*fat, error) {
	b := make([]byte, 512)
	if err := readAll(dev, b, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	f := &fat{
		dev: dev, bpb: b, sector: int64(le.Uint16(b[11:])), root: le.Uint32(b[44:]),
	}
	perCluster, reserved, copies := int64(b[13]), int64(le.Uint16(b[14:])), int64(b[16])
	total, perFAT := int64(le.Uint32(b[32:])), int64(le.Uint32(b[36:]))
	switch {
	case b[510] != 0x55 || b[511] != 0xaa:
		return nil, fmt.Errorf("%w: no boot sector", errFAT)
	case f.sector < 512 || f.sector > 4096 || f.sector&(f.sector-1) != 0 || perCluster == 0 || perCluster&(perCluster-1) != 0:
		return nil, fmt.Errorf("%w: sectors of %d bytes, %d per cluster", errFAT, f.sector, perCluster)
	case le.Uint16(b[17:]) != 0 || le.Uint16(b[22:]) != 0 || reserved == 0 || copies == 0 || perFAT == 0:
		return nil, fmt.Errorf("%w: it is another FAT", errFAT)
	case total*f.sector > dev.Size() || perFAT*f.sector > maxFAT:
		return nil, fmt.Errorf("%w: %d sectors and FATs of %d do not fit", errFAT, total, perFAT)
	}
	data := reserved + copies*perFAT
	f.cluster, f.dataOff = perCluster*f.sector, data*f.sector
	f.clusters = uint32(min(max(0, total-data)/perCluster, perFAT*f.sector/4-2))
	f.table = make([]byte, perFAT*f.sector)
	return f, readAll(dev, f.table, reserved*f.sector)
}

func readAll(dev blockdev.Device, p []byte, off int64) error {
	if n, err := dev.ReadAt(p, off); n < len(p) {
		return fmt.Errorf("reading byte %d: %w", off+int64(n), err)
	}
	return nil
}

func (f *fat) next(c uint32) uint32 { return binary.LittleEndian.Uint32(f.table[4*c:]) & 0x0fffffff }

// off is where cluster c lies; c must be valid.
func (f *fat) off(c uint32) int64 { return f.dataOff + int64(c-2)*f.cluster }

func (f *fat) valid(c uint32) bool { return c >= 2 && c-2 < f.clusters }

// chain returns the clusters from c on that hold limit bytes, or fewer when the
// chain ends before.
func (f *fat) chain(c uint32, limit int64) ([]uint32, error) {
	var clusters []uint32
	for int64(len(clusters))*f.cluster < limit {
		if !f.valid(c) || uint32(len(clusters)) > f.clusters {
			return nil, fmt.Errorf("%w: broken chain at cluster %d", errFAT, c)
		}
		clusters = append(clusters, c)
		if c = f.next(c); c >= 0x0ffffff8 {
			break
		}
	}
	return clusters, nil
}

// open returns the first limit bytes of the chain that starts at c, or what
// there is of them.
func (f *fat) open(c uint32, limit int64) (*io.SectionReader, error) {
	clusters, err := f.chain(c, limit)
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(fatFile{f, clusters}, 0, min(limit, int64(len(clusters))*f.cluster)), nil
}

// A fatFile reads a chain of clusters.
type fatFile struct {
	fat      *fat
	clusters []uint32
}

// ReadAt implements io.ReaderAt within the clusters.
func (r fatFile) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		i, in := at/r.fat.cluster, at%r.fat.cluster
		if i >= int64(len(r.clusters)) {
			return done, io.EOF
		}
		n := min(int64(len(p)-done), r.fat.cluster-in)
		if err := readAll(r.fat.dev, p[done:done+int(n)], r.fat.off(r.clusters[i])+in); err != nil {
			return done, err
		}
		done += int(n)
	}
	return done, nil
}

// read reads at most limit bytes of the chain that starts at c.
func (f *fat) read(c uint32, limit int64) ([]byte, error) {
	r, err := f.open(c, limit)
	if err != nil {
		return nil, err
	}
	b := make([]byte, r.Size())
	_, err = io.ReadFull(r, b)
	return b, err
}

// A fatEntry is a file or directory.
type fatEntry struct {
	name, short string
	dir         bool
	cluster     uint32
	size        int64
}

func (f *fat) list(dir uint32) ([]fatEntry, error) {
	b, err := f.read(dir, maxDir)
	if err != nil {
		return nil, err
	}
	var list []fatEntry
	var long []uint16
	for ; len(b) >= 32 && b[0] != 0; b = b[32:] {
		e, le := b[:32], binary.LittleEndian
		switch attr := e[11]; {
		case e[0] == 0xe5:
			long = nil
		case attr&0x3f == 0x0f:
			if e[0]&0x40 != 0 { // a name begins; pieces before it are of none
				long = nil
			}
			if len(long) < maxLongName {
				long = append(longPart(e), long...)
			}
		case attr&0x08 != 0: // volume label
			long = nil
		default:
			entry := fatEntry{
				short: shortName(e), dir: attr&0x10 != 0, size: int64(le.Uint32(e[28:])),
				cluster: entryCluster(e),
			}
			entry.name = strings.TrimRight(string(utf16.Decode(long)), "\uffff")
			entry.name, _, _ = strings.Cut(entry.name, "\x00")
			list, long = append(list, entry), nil
		}
	}
	return list, nil
}

// longPart returns the 13 characters of a long name's piece; the pieces stand
// in the directory last first.
func longPart(e []byte) []uint16 {
	var u []uint16
	for _, r := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
		for i := r[0]; i < r[1]; i += 2 {
			u = append(u, binary.LittleEndian.Uint16(e[i:]))
		}
	}
	return u
}

func shortName(e []byte) string {
	name := strings.TrimRight(string(e[:8]), " ")
	if ext := strings.TrimRight(string(e[8:11]), " "); ext != "" {
		name += "." + ext
	}
	return name
}

// lookup finds the file or directory at a path with slashes; FAT does not
// tell upper from lower case.
func (f *fat) lookup(path string) (fatEntry, error) {
	at := fatEntry{dir: true, cluster: f.root}
	for elem := range strings.SplitSeq(path, "/") {
		if !at.dir {
			return fatEntry{}, fs.ErrNotExist
		}
		list, err := f.list(at.cluster)
		if err != nil {
			return fatEntry{}, err
		}
		found := false
		for _, e := range list {
			if strings.EqualFold(e.name, elem) || strings.EqualFold(e.short, elem) {
				at, found = e, true
				break
			}
		}
		if !found {
			return fatEntry{}, fs.ErrNotExist
		}
	}
	return at, nil
}

// openFile returns a file's content.
func (f *fat) openFile(path string) (*io.SectionReader, error) {
	e, err := f.lookup(path)
	if err != nil {
		return nil, err
	}
	if e.dir {
		return nil, errors.New("is a directory")
	}
	if e.size == 0 {
		return io.NewSectionReader(fatFile{fat: f}, 0, 0), nil
	}
	r, err := f.open(e.cluster, e.size)
	if err == nil && r.Size() < e.size {
		err = fmt.Errorf("%w: %d bytes of a file of %d", errFAT, r.Size(), e.size)
	}
	return r, err
}
