package squashfs

import (
	"fmt"
	"runtime"

	"github.com/abupdate/abupdate/internal/fault"
)

// A Compression is one of the compressors the kernel's squashfs reads.
type Compression uint8

// The compressors. None stores every block as it is.
const (
	Zstd Compression = iota
	Gzip
	None
)

// String names the compressor as mksquashfs does.
func (c Compression) String() string {
	switch c {
	case Zstd:
		return "zstd"
	case Gzip:
		return "gzip"
	case None:
		return "none"
	}
	return fmt.Sprintf("compression %d", uint8(c))
}

// ParseCompression is the inverse of Compression.String.
func ParseCompression(s string) (Compression, error) {
	for c := Zstd; c <= None; c++ {
		if c.String() == s {
			return c, nil
		}
	}
	return 0, fault.Errorf(fault.Usage, "parsing compression %q: not zstd, gzip or none", s)
}

// A Layout says where blocks of content may start.
type Layout uint8

// Aligned starts every file's run of blocks and every fragment block on a
// 4 KiB boundary, so that equal content gives equal 4 KiB blocks in the next
// image; Compact leaves the padding out.
const (
	Aligned Layout = iota
	Compact
)

// String names the layout in a word.
func (l Layout) String() string {
	switch l {
	case Aligned:
		return "aligned"
	case Compact:
		return "compact"
	}
	return fmt.Sprintf("layout %d", uint8(l))
}

// ParseLayout is the inverse of Layout.String.
func ParseLayout(s string) (Layout, error) {
	for l := Aligned; l <= Compact; l++ {
		if l.String() == s {
			return l, nil
		}
	}
	return 0, fault.Errorf(fault.Usage, "parsing layout %q: not aligned or compact", s)
}

// The limits of Options.BlockSize, and its default.
const (
	MinBlockSize     = 4 << 10
	MaxBlockSize     = 1 << 20
	DefaultBlockSize = 128 << 10
)

// Options configures a Writer; the zero value is ready to use. Workers has no
// influence on the bytes of the image, everything else does.
type Options struct {
	Compression Compression
	// Level is 1 to 22 for zstd (1-2 fast, 3-5 default, 6-9 better, 10 and up
	// best: klauspost's four), 1 to 9 for gzip; 0 means 3 for zstd, 6 for gzip.
	Level     int
	BlockSize int // bytes, a power of two in [4 KiB, 1 MiB]; 0 means 128 KiB
	Workers   int // parallel compressors; 0 means GOMAXPROCS
	Layout    Layout
	ModTime   int64 // seconds since the epoch, stamped on the superblock
}

// klauspostVersion is part of Encoder, since another version of the
// compressor may write other bytes. A test compares it with go.mod.
const klauspostVersion = "1.20.3"

// Encoder describes everything that decides which bytes a Writer makes of the
// same entries: two images are comparable when their Encoder strings are equal.
func (o Options) Encoder() string {
	o = o.withDefaults()
	level := fmt.Sprintf(" level %d", o.Level)
	if o.Compression == None {
		level = ""
	}
	return fmt.Sprintf("abupdate-squashfs/3 %v%s %dK %v klauspost/%s", o.Compression, level, o.BlockSize>>10, o.Layout, klauspostVersion)
}

// MemoryBound returns the most bytes of heap that a Writer with these options
// takes for blocks in flight and compressors. What it keeps of every content,
// some 35 bytes, comes on top.
func MemoryBound(o Options) int64 {
	o = o.withDefaults()
	block := int64(o.BlockSize)
	blocks := 2 * int64(jobsFor(o.Workers)) * (block + block/64 + 64)
	group := 2 * block
	const fixed = wholeLimit + largeLimit + 1<<20                        // files read whole, buffers
	return blocks + group + fixed + int64(o.Workers+1)*compressorSize(o) // one for the tables
}

func (o Options) withDefaults() Options {
	if o.Level == 0 {
		switch o.Compression {
		case Zstd:
			o.Level = 3
		case Gzip:
			o.Level = 6
		}
	}
	if o.BlockSize == 0 {
		o.BlockSize = DefaultBlockSize
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return o
}

func (o Options) validate() error {
	maxLevel := map[Compression]int{Zstd: 22, Gzip: 9}[o.Compression]
	switch {
	case o.Compression > None:
		return fault.Errorf(fault.Usage, "making a squashfs: unknown %v", o.Compression)
	case o.Layout > Compact:
		return fault.Errorf(fault.Usage, "making a squashfs: unknown %v", o.Layout)
	case o.BlockSize < MinBlockSize || o.BlockSize > MaxBlockSize || o.BlockSize&(o.BlockSize-1) != 0:
		return fault.Errorf(fault.Usage, "making a squashfs: block size %d is not a power of two from %d to %d", o.BlockSize, MinBlockSize, MaxBlockSize)
	case o.Level != 0 && maxLevel == 0:
		return fault.Errorf(fault.Usage, "making a squashfs: level %d: %v has no levels", o.Level, o.Compression)
	case o.Level < 0 || o.Level > maxLevel:
		return fault.Errorf(fault.Usage, "making a squashfs: level %d of %v is not in 1 to %d", o.Level, o.Compression, maxLevel)
	case o.Workers < 0:
		return fault.Errorf(fault.Usage, "making a squashfs: %d workers", o.Workers)
	}
	return nil
}
