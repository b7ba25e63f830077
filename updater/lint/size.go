package lint

import (
	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/partitions"
)

// A sizeProbe compares the image with a slot.
type sizeProbe struct {
	bytes   int64 // of regular files
	entries int64
	names   int64 // bytes of names, targets and attributes
	files   int64
}

func (p *sizeProbe) entry(_ *tree, e fstree.Entry) {
	p.entries++
	p.names += int64(len(base(e.Path)))
	if e.Type == fstree.Hardlink {
		return
	}
	p.names += int64(len(e.Linkname))
	for _, x := range e.Xattrs {
		p.names += int64(len(x.Name) + len(x.Value))
	}
	if e.Type == fstree.Regular && e.Size > 0 {
		p.files++
		p.bytes += e.Size
	}
}

func (*sizeProbe) want(*tree) {}

// What one entry, and one file, takes at most besides its name and content.
const (
	entryBytes = 160 // inode, directory entry, index, ids; uncompressed
	blockBytes = 4   // length of a block of content
	padBytes   = 4096
	fixedBytes = 64 << 10
	dataBlock  = 4096 // the smallest block of content
)

// bounds returns what the squashfs has at least and at most. A squashfs packs
// blocks by themselves and so gets no smaller than half of what the layers'
// compressor made of whole streams; upper layers hide at most half of the
// lower ones in an image that anybody would ship. It gets no larger than
// everything without compression.
func (p *sizeProbe) bounds(opt Options) (least, most int64) {
	least = opt.Compressed / 2
	if opt.Layers > 1 {
		least /= 2
	}
	most = p.bytes + p.bytes/dataBlock*blockBytes + p.files*(padBytes+blockBytes) + p.entries*entryBytes + p.names + fixedBytes
	return min(least, p.bytes), most
}

// tight is the part of a slot, in percent, from which on there is little room
// for the next version.
const tight = 90

func (p *sizeProbe) check(t *tree) {
	if t.opt.Slot == 0 {
		return
	}
	room := partitions.Capacity(t.opt.Slot)
	if exact := t.opt.ExactBytes; exact > 0 {
		switch {
		case exact > room:
			t.foundf("slot-too-small", "", "the squashfs has %d bytes; a slot of %d bytes holds %d", exact, t.opt.Slot, room)
		case exact > room/100*tight:
			t.foundf("slot-tight", "", "the squashfs has %d bytes; a slot of %d bytes holds %d", exact, t.opt.Slot, room)
		}
		return
	}
	least, most := p.bounds(t.opt)
	switch {
	case least > room:
		t.foundf("slot-too-small", "", "the squashfs has at least %d bytes; a slot of %d bytes holds %d", least, t.opt.Slot, room)
	case most > room:
		t.foundf("slot-unknown", "", "the squashfs has %d to %d bytes; a slot of %d bytes holds %d", least, most, t.opt.Slot, room)
	}
}
