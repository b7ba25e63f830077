package squashfs

import "math/bits"

// A zstd frame consists of blocks of up to 128 KiB, each with tables of its
// own for the frequencies of bytes. The encoder makes them as long as it can;
// where the kind of data changes, as it does from member to member of a group
// or from code to strings in a program, shorter ones with fitting tables are
// smaller: 2.2 % over the files of a Debian system, for 9 % more time.
//
// All is done in integers: the same on every machine.
const (
	splitChunk  = 4 << 10 // bytes: cuts fall on multiples of this
	splitSample = 4       // every fourth byte is counted
	maxSplit    = 128 << 10
	// splitGain is how many bits separate tables must save to be worth it.
	splitGain = 3000
)

// A histogram counts sampled bytes.
type histogram struct {
	count [256]uint32
	n     uint32
}

func (h *histogram) reset(b []byte) {
	*h = histogram{}
	for i := 0; i < len(b); i += splitSample {
		h.count[b[i]]++
	}
	h.n = uint32((len(b) + splitSample - 1) / splitSample)
}

func (h *histogram) add(o *histogram) {
	for i := range h.count {
		h.count[i] += o.count[i]
	}
	h.n += o.n
}

// cost is what the bytes take with a code that fits their frequencies, in
// 1/65536 bit.
func (h *histogram) cost() int64 {
	sum := int64(0)
	for _, c := range &h.count {
		sum += information[c]
	}
	return information[h.n] - sum
}

// information[n] is n * log2(n), in 1/65536.
var information = func() (t [maxSplit/splitSample + 1]int64) {
	for n := range t {
		t[n] = int64(n) * log2(uint32(n))
	}
	return t
}()

// log2 is in 1/65536, rounded down: the digits behind the point come from
// squaring.
func log2(n uint32) int64 {
	if n == 0 {
		return 0
	}
	whole := bits.Len32(n) - 1
	result := int64(whole) << 16
	x := uint64(n) << 31 >> whole // n / 2^whole in [1, 2), in 1/2^31
	for digit := int64(1) << 15; digit > 0; digit >>= 1 {
		if x = x * x >> 31; x >= 1<<32 {
			x >>= 1
			result |= digit
		}
	}
	return result
}

// splits appends to cuts where src should be cut.
func splits(cuts []int, src []byte) []int {
	if len(src) <= splitChunk {
		return cuts
	}
	var cur, next, joint histogram
	cur.reset(src[:splitChunk])
	cost, start := cur.cost(), 0
	for at := splitChunk; at < len(src); at += splitChunk {
		next.reset(src[at:min(len(src), at+splitChunk)])
		nextCost := next.cost()
		if at-start < maxSplit {
			joint = cur
			joint.add(&next)
			if jointCost := joint.cost(); (jointCost-cost-nextCost)*splitSample <= splitGain<<16 {
				cur, cost = joint, jointCost
				continue
			}
		}
		cuts = append(cuts, at)
		cur, cost, start = next, nextCost, at
	}
	return cuts
}
