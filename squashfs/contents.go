package squashfs

import (
	"math"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/internal/paged"
)

// contents is what is known of what File was given: 12 bytes for each, and 20
// to 30 more until forgetTags to find it again by its bytes.
type contents struct {
	places paged.Table[place]
	long   map[uint32]int64 // sizes that do not fit a place
	tags   paged.Table[[16]byte]
	byTag  paged.Index
	large  map[largeKey]largeFile
}

// A place is a content in as few bytes as it takes.
type place struct {
	size     uint32 // longSize: in contents.long
	fragment uint32 // number of the fragment block; none: it is a run
	at       uint32 // offset in the fragment block, or number of the run
}

const longSize = math.MaxUint32

// A content is what regular files of equal bytes share.
type content struct {
	size     int64
	fragment uint32 // number of the fragment block, or none
	offset   uint32 // in the fragment block
	run      uint32 // number of the run of blocks, or none
}

// blockCount is the number of blocks in the inode's list.
func (c *content) blockCount(blockSize int) int64 {
	if c.run == none {
		return 0
	}
	return (c.size + int64(blockSize) - 1) / int64(blockSize)
}

// find returns the content with a tag, or the slot for it.
func (c *contents) find(tag [16]byte) (slot paged.Slot, i uint32, ok bool) {
	c.byTag.Grow(func(i uint32) uint64 { return le.Uint64(c.tags.At(i)[:]) })
	return c.byTag.Find(le.Uint64(tag[:]), func(i uint32) bool { return *c.tags.At(i) == tag })
}

// addTagged adds a content to be found by its tag, in the slot from find.
func (c *contents) addTagged(slot paged.Slot, tag [16]byte, p place) uint32 {
	i := c.add(int64(p.size), p)
	*c.tags.At(i) = tag
	c.byTag.Set(slot, i)
	return i
}

func (c *contents) add(size int64, p place) uint32 {
	p.size = uint32(min(size, longSize))
	i := c.places.Add(p)
	c.tags.Add([16]byte{})
	if size >= longSize {
		if c.long == nil {
			c.long = make(map[uint32]int64)
		}
		c.long[i] = size
	}
	return i
}

// addLarge adds what finds a file of more than wholeLimit bytes.
func (c *contents) addLarge(key largeKey, f largeFile) {
	if c.large == nil {
		c.large = make(map[largeKey]largeFile)
	}
	c.large[key] = f
}

// forgetTags makes room for what Close needs.
func (c *contents) forgetTags() {
	c.tags, c.byTag, c.large = paged.Table[[16]byte]{}, paged.Index{}, nil
}

// get returns content i, which is one if it is below len.
func (c *contents) get(i fstree.Content) content {
	p := c.places.At(uint32(i))
	out := content{size: int64(p.size), fragment: p.fragment, offset: p.at, run: none}
	if p.size == longSize {
		out.size = c.long[uint32(i)]
	}
	if p.fragment == none {
		out.offset, out.run = 0, p.at
	}
	return out
}
