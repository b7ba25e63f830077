package blockdevtest

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Bounds of Crashes.
const (
	// MaxSubset is how many writes between two syncs are combined freely.
	MaxSubset = 6
	// MaxTears is how many places a write is torn at, from either end.
	MaxTears = 16
)

// A Cut says where the power went.
type Cut struct {
	Synced  int   // writes and syncs that are in the image whole
	Present []int // writes after those, by their place in the log, that are in it too
	// Torn is the write, the last in Present, of which only bytes
	// [TornFrom, TornTo) are in the image; -1 when none is torn.
	Torn             int
	TornFrom, TornTo int64
	// Chance is not 0 when of the writes after Synced up to the next sync each
	// sector is in the image or not, by chance: which throw of the dice it is.
	Chance int

	until int // the op that the power went before, at the latest
	marks []mark
}

// Reached says whether the power may have gone after a mark with this name
// was made, so that what is promised from the mark on must hold. That is so
// for every image that lacks nothing which was synced before the mark: a
// write that was not may still be missing then.
func (c Cut) Reached(name string) bool {
	return slices.ContainsFunc(c.marks, func(m mark) bool { return m.name == name && m.ops <= c.until })
}

// String describes the cut for a failure message.
func (c Cut) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "after %d ops", c.Synced)
	for _, m := range slices.Backward(c.marks) {
		if m.ops <= c.until {
			fmt.Fprintf(&b, " (%s)", m.name)
			break
		}
	}
	if len(c.Present) > 0 {
		fmt.Fprintf(&b, " with unsynced %v", c.Present)
	}
	if c.Chance > 0 {
		fmt.Fprintf(&b, " with unsynced sectors by chance, throw %d", c.Chance)
	}
	if c.Torn >= 0 {
		fmt.Fprintf(&b, ", of the last one bytes %d to %d", c.TornFrom, c.TornTo)
	}
	return b.String()
}

// Crashes yields the images that a power cut during or after the recording
// could leave, beginning with the untouched base. A disk may bring writes
// that no sync follows to the medium in any order, in part, or not at all; it
// writes sectors of 512 bytes whole. So for each run of writes between two
// syncs, on top of everything before the run:
//
//   - up to MaxSubset writes: every subset;
//   - more: every prefix, each write alone, and all but each one;
//
// and in each of these the last write also torn: its first k sectors, and
// everything but those, for every k, or for MaxTears of them near both ends
// and in between when it has more sectors.
//
// Not covered: larger runs in every combination, two torn writes at once, and
// a torn write with holes: CrashesWithin gives some of them. An image is valid
// until the loop's body ends, and may be written to.
func (r *Recorder) Crashes() iter.Seq2[*Image, Cut] {
	return r.CrashesIf(func(Cut) bool { return true })
}

// CrashesIf yields the images of Crashes whose cuts are wanted. The others
// cost next to nothing: that is how to count and to sample.
func (r *Recorder) CrashesIf(want func(Cut) bool) iter.Seq2[*Image, Cut] {
	return r.crashes(want, Bounds{})
}

func (r *Recorder) crashes(want func(Cut) bool, bounds Bounds) iter.Seq2[*Image, Cut] {
	if bounds.Tears == 0 {
		bounds.Tears = MaxTears
	}
	r.mu.Lock()
	ops, marks := slices.Clone(r.ops), slices.Clone(r.marks)
	r.mu.Unlock()
	return func(yield func(*Image, Cut) bool) {
		e := &enumeration{ops: ops, marks: marks, bounds: bounds, want: want, yield: yield}
		synced := NewImage(r.base)
		e.emit(synced, Cut{Synced: e.skipSyncs(0), Torn: -1})
		for start := e.skipSyncs(0); start < len(ops) && !e.stopped; {
			end := start
			for end < len(ops) && !ops[end].isSync() {
				end++
			}
			e.run(synced, start, end)
			for _, o := range ops[start:end] {
				o.apply(synced, 0, o.n)
			}
			start = e.skipSyncs(end)
			if end < len(ops) { // a run that no sync ends has given its full set already
				e.emit(synced, Cut{Synced: start, Torn: -1})
			}
		}
	}
}

// enumeration is a Crashes under way.
type enumeration struct {
	ops     []op
	marks   []mark
	bounds  Bounds
	want    func(Cut) bool
	yield   func(*Image, Cut) bool
	stopped bool
}

// skipSyncs returns the first op from i on that is a write.
func (e *enumeration) skipSyncs(i int) int {
	for i < len(e.ops) && e.ops[i].isSync() {
		i++
	}
	return i
}

// emit yields an image on top of under, which stays as it is.
func (e *enumeration) emit(under *Image, c Cut) {
	if e.stopped {
		return
	}
	c.until = c.Synced
	for c.until < len(e.ops) && !e.ops[c.until].isSync() {
		c.until++
	}
	c.marks = e.marks
	if !e.want(c) {
		return
	}
	img := NewImage(under)
	if c.Chance > 0 {
		e.scatter(img, c)
	}
	for _, i := range c.Present {
		o := e.ops[i]
		if i == c.Torn {
			o.apply(img, c.TornFrom, c.TornTo)
		} else {
			o.apply(img, 0, o.n)
		}
	}
	e.stopped = !e.yield(img, c)
}

// run emits what ops [start, end), all writes, can leave, but not the empty
// set, which the run before gave, nor the full one when a sync follows.
func (e *enumeration) run(synced *Image, start, end int) {
	n := end - start
	for _, set := range subsets(n) {
		for i := range set {
			set[i] += start
		}
		c := Cut{Synced: start, Present: set, Torn: -1}
		if len(set) < n || end == len(e.ops) {
			e.emit(synced, c)
		}
		c.Torn = set[len(set)-1]
		for _, t := range tears(e.ops[c.Torn].n, e.bounds.Tears) {
			c.TornFrom, c.TornTo = t[0], t[1]
			e.emit(synced, c)
		}
	}
	for i := range e.bounds.Chance {
		e.emit(synced, Cut{Synced: start, Torn: -1, Chance: i + 1})
	}
}

// subsets returns the non-empty subsets of 0..n-1 that Crashes documents,
// each in ascending order.
func subsets(n int) [][]int {
	var sets [][]int
	add := func(keep func(i int) bool) {
		var set []int
		for i := range n {
			if keep(i) {
				set = append(set, i)
			}
		}
		if len(set) > 0 {
			sets = append(sets, set)
		}
	}
	if n <= MaxSubset {
		for bits := 1; bits < 1<<n; bits++ {
			add(func(i int) bool { return bits>>i&1 == 1 })
		}
		return sets
	}
	for k := range n {
		add(func(i int) bool { return i <= k })
		if k > 0 {
			add(func(i int) bool { return i == k })
		}
		if k < n-1 { // all but the last is a prefix
			add(func(i int) bool { return i != k })
		}
	}
	return sets
}

// tears returns the parts [from, to) of a write of n bytes to try, for at most
// about so many places.
func tears(n int64, places int) [][2]int64 {
	last := (n - 1) / sectorSize // the last k at which both parts hold something
	var ks []int64
	if last <= int64(places) {
		for k := int64(1); k <= last; k++ {
			ks = append(ks, k)
		}
	} else {
		edge := int64(places) / 4
		for i := int64(1); i <= edge; i++ {
			ks = append(ks, i, last+1-i)
		}
		inner := int64(places) - 2*edge
		for i := int64(1); i <= inner; i++ {
			ks = append(ks, edge+i*(last-2*edge)/(inner+1))
		}
		slices.Sort(ks)
		ks = slices.Compact(ks)
	}
	var parts [][2]int64
	for _, k := range ks {
		parts = append(parts, [2]int64{0, k * sectorSize}, [2]int64{k * sectorSize, n})
	}
	return parts
}
