package paged

// An Index finds numbers by a hash of what they stand for: an open-addressing
// table of 5 to 11 bytes for each, where a map takes 40. Its owner says what is
// equal, and hashes a number again when the table grows. The zero value is
// empty.
type Index struct {
	slots []uint32 // number + 1; 0 is free
	used  int
}

// A Slot is a place in an Index. It is good until the next Grow.
type Slot uint32

// Find returns the number for which same is true, and its slot, or the free
// slot where it belongs, if there was a Grow before.
func (x *Index) Find(hash uint64, same func(i uint32) bool) (slot Slot, i uint32, ok bool) {
	if len(x.slots) == 0 {
		return 0, 0, false
	}
	mask := uint32(len(x.slots) - 1)
	for at := uint32(hash>>32) & mask; ; at = (at + 1) & mask {
		switch s := x.slots[at]; {
		case s == 0:
			return Slot(at), 0, false
		case same(s - 1):
			return Slot(at), s - 1, true
		}
	}
}

// Grow makes room for one more number.
func (x *Index) Grow(hash func(i uint32) uint64) {
	if x.used < len(x.slots)/4*3 {
		return
	}
	old := x.slots
	x.slots = make([]uint32, max(16, 2*len(old)))
	for _, s := range old {
		if s != 0 {
			slot, _, _ := x.Find(hash(s-1), func(uint32) bool { return false })
			x.slots[slot] = s
		}
	}
}

// Set puts number i into a slot that Find returned since the last Grow.
func (x *Index) Set(slot Slot, i uint32) {
	if x.slots[slot] == 0 {
		x.used++
	}
	x.slots[slot] = i + 1
}

// Len returns the number of slots in use.
func (x *Index) Len() int { return x.used }

// Bytes returns the memory that the index takes.
func (x *Index) Bytes() int64 { return int64(len(x.slots)) * 4 }
