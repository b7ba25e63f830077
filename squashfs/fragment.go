package squashfs

import "strings"

// A group collects small files for the fragment block being filled.
//
// Aligned layout: a block of the next image is downloaded unless the same
// 4 KiB stand in this one, so one file that grows must not move the files
// behind it from block to block for the rest of the image. When the group is
// full it is therefore not cut at its end but in its upper half, at the end of
// a folder if there is one and otherwise anywhere, after the member whose path
// has the smallest hash. The rest begins the next group. Two images whose
// groups begin at different files soon pick the same member, and are in step
// again from there; and files of one folder, which often change together, are
// in few groups.
type group struct {
	buf     []byte
	members []member
}

// A member is one file's content in a group.
type member struct {
	content uint32
	end     int    // where it ends in buf
	hash    uint64 // of its path
	folder  uint64 // of the path of its folder
	family  uint64 // see familyOf
}

// cutPoint returns the index after the member to cut at. minFill is the number
// of bytes that a cut block has at least, where the members allow it, and next
// the folder of the file that comes behind the last member.
func (g *group) cutPoint(minFill int, next uint64) int {
	best, bestRank := len(g.members)-1, ^uint64(0)
	for i := len(g.members) - 1; i >= 0 && g.members[i].end >= minFill; i-- {
		m := g.members[i]
		rank := m.hash >> 1
		if m.folder == next {
			rank |= 1 << 63
		}
		if rank < bestRank {
			best, bestRank = i, rank
		}
		next = m.folder
	}
	return best + 1
}

// family returns what the first n members have in common.
func (g *group) family(n int) uint64 {
	family := g.members[0].family
	for _, m := range g.members[:n] {
		if m.family != family {
			return noFamily
		}
	}
	return family
}

// addFragment puts the content of a small file into the current group.
func (w *Writer) addFragment(path string, content uint32, data []byte) {
	g := &w.group
	folder := pathHash(path[:max(0, strings.LastIndexByte(path, '/'))])
	for len(g.buf)+len(data) > w.opt.BlockSize {
		n := len(g.members)
		if w.opt.Layout == Aligned {
			n = g.cutPoint(w.opt.BlockSize/2, folder)
		}
		w.flushGroup(n)
	}
	g.buf = append(g.buf, data...)
	g.members = append(g.members, member{content, len(g.buf), pathHash(path), folder, familyOf(path)})
}

// flushGroup submits the first n members as a fragment block and moves the
// rest to the front.
func (w *Writer) flushGroup(n int) {
	g := &w.group
	if n == 0 {
		return
	}
	end := g.members[n-1].end
	j := w.pipe.take(end)
	j.fragment, j.family = true, g.family(n)
	copy(j.raw, g.buf)
	w.pipe.submit(j)

	start := 0
	for _, m := range g.members[:n] {
		p := w.contents.places.At(m.content)
		p.fragment, p.at = uint32(w.stats.Fragments), uint32(start)
		start = m.end
	}
	w.stats.Fragments++
	w.stats.FragmentBytes += int64(end)
	g.buf = g.buf[:copy(g.buf, g.buf[end:])]
	g.members = g.members[:copy(g.members, g.members[n:])]
	for i := range g.members {
		g.members[i].end -= end
	}
}

// pathHash is part of the layout: with another one the same input gives other
// bytes. FNV-1a, with a finalizer because groups compare whole values.
func pathHash(path string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(path) {
		h = (h ^ uint64(path[i])) * 0x100000001b3
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
