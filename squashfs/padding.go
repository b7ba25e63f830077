package squashfs

// In the aligned layout a run of blocks or a fragment block starts on a
// multiple of 4 KiB, so that it gives the same 4 KiB blocks in the next image,
// whatever stands before it. That costs 2 KiB each, 2.5 % of a Debian system.
// Half of that goes to the modules of the kernel, which always change
// together: where a unit is of the same family as the one before it, padding
// is left out unless it is cheap.
const (
	// familyDepth is how many leading folders make a family: enough for
	// usr/lib/modules/VERSION/kernel and usr/lib/python3/dist-packages/NAME, too
	// many for folders such as usr/lib/x86_64-linux-gnu and usr/share/doc/NAME,
	// where padding all the same keeps updates small.
	familyDepth = 5

	// cheapPadding is how many times the padding must have been written since
	// the last multiple of 4 KiB that something starts at.
	cheapPadding = 128

	noFamily = 0
)

// familyOf returns the family of a path: the hash of its leading folders.
func familyOf(path string) uint64 {
	depth := 0
	for i := range len(path) {
		if path[i] == '/' {
			if depth++; depth == familyDepth {
				return pathHash(path[:i])
			}
		}
	}
	return noFamily
}

// A padder decides where units start. What it knows is as old as the last
// aligned unit, so that images with equal contents are in step again from one
// aligned unit on.
type padder struct {
	family uint64 // of the unit before
	start  int64  // of the last aligned unit
}

// pads says whether a unit that would start at pos is aligned.
func (p *padder) pads(pos int64, family uint64) bool {
	kin := family != noFamily && family == p.family
	p.family = family
	padding := -pos & (alignment - 1)
	if kin && padding*cheapPadding > pos-p.start {
		return false
	}
	p.start = pos + padding
	return true
}
