package blockdevtest

import (
	"hash/maphash"
)

// Sum is a hash of what the image holds: for two images over the same base,
// directly or with others between, it is the same when they read the same, and
// else it differs, but for the chance of 64 bits. It holds for this process.
// Nothing may be written to what is below the image, or to the image itself,
// while it runs.
func (m *Image) Sum() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.summed {
		return m.sum
	}
	m.sum = 0
	if under, ok := m.base.(interface{ Sum() uint64 }); ok {
		m.sum = under.Sum()
	}
	var was [pageSize]byte
	for i, page := range m.pages {
		n := min(pageSize, m.Size()-i*pageSize)
		if _, err := readFull(m.base, was[:n], i*pageSize); err != nil {
			panic("blockdevtest: reading below an image: " + err.Error())
		}
		// A page that is written with what it held counts for nothing.
		m.sum ^= pageSum(i, was[:n]) ^ pageSum(i, page[:n])
	}
	m.summed = true
	return m.sum
}

// Sum is that of the image that the Recorder reads as.
func (r *Recorder) Sum() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live.Sum()
}

var sumSeed = maphash.MakeSeed()

// pageSum hashes a page at its place. The last steps are those of SplitMix64:
// sums are combined by XOR.
func pageSum(i int64, page []byte) uint64 {
	x := maphash.Bytes(sumSeed, page) + uint64(i)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
