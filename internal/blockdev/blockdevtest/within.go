package blockdevtest

import (
	"iter"
	"math/rand/v2"
)

// Bounds say how many of the images that a cut could leave are given. The zero
// value gives those of Crashes.
type Bounds struct {
	Tears int // places that a write is torn at, from either end; 0: MaxTears
	// Chance is how many images are given besides for each run of writes, in
	// which each sector, or each block of some, is there or not by chance.
	Chance int
	Seed   uint64 // of chance
}

// CrashesWithin yields the images of Crashes, and more or less of some kinds.
func (r *Recorder) CrashesWithin(b Bounds) iter.Seq2[*Image, Cut] {
	return r.crashes(func(Cut) bool { return true }, b)
}

// scatter puts sectors of the writes behind c.Synced into img. What is there or
// not together, and how much of all, differs from throw to throw: few sectors,
// most of them, or whole blocks.
func (e *enumeration) scatter(img *Image, c Cut) {
	rnd := rand.New(rand.NewPCG(e.bounds.Seed, uint64(c.Synced)<<32|uint64(c.Chance)))
	grain := int64(sectorSize) << (3 * rnd.IntN(3))
	density := rnd.Float64()
	for _, o := range e.ops[c.Synced:c.until] {
		for from := int64(0); from < o.n; from += grain {
			if rnd.Float64() < density {
				o.apply(img, from, min(o.n, from+grain))
			}
		}
	}
}
