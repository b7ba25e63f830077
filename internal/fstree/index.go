package fstree

// An index finds numbers by a hash of what they stand for: an open-addressing
// table that costs 5 to 11 bytes for each, where a map costs 40. The owner says
// what is equal and how to hash a number again when the table grows.
type index struct {
	slots []uint32 // number + 1; 0 is free
	used  int
}

// find returns the slot of the number for which same is true, or the free slot
// where it belongs.
func (x *index) find(hash uint64, same func(i uint32) bool) (slot uint32, i uint32, ok bool) {
	mask := uint32(len(x.slots) - 1)
	for slot = uint32(hash>>32) & mask; ; slot = (slot + 1) & mask {
		i := x.slots[slot] - 1
		if x.slots[slot] == 0 || same(i) {
			return slot, i, x.slots[slot] != 0
		}
	}
}

// grow makes room for one more number.
func (x *index) grow(hash func(i uint32) uint64) {
	if x.used < len(x.slots)/4*3 {
		return
	}
	old := x.slots
	x.slots = make([]uint32, max(16, 2*len(old)))
	for _, s := range old {
		if s != 0 {
			slot, _, _ := x.find(hash(s-1), func(uint32) bool { return false })
			x.slots[slot] = s
		}
	}
}

// set puts number i into a slot that find returned.
func (x *index) set(slot, i uint32) {
	if x.slots[slot] == 0 {
		x.used++
	}
	x.slots[slot] = i + 1
}

func (x *index) bytes() int64 { return int64(len(x.slots)) * 4 }
