package squashfs

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestLog2(t *testing.T) {
	for n := uint32(1); n <= maxSplit/splitSample; n++ {
		want := math.Log2(float64(n)) * 65536
		if got := float64(log2(n)); math.Abs(got-want) > 2 {
			t.Fatalf("log2(%d) = %v/65536; want %v", n, got, want)
		}
	}
}

// kinds makes data of which every piece of 4 KiB has one of two alphabets, as
// pattern says.
func kinds(pattern string, rnd *rand.Rand) []byte {
	b := make([]byte, len(pattern)*splitChunk)
	for i := range b {
		b[i] = byte(rnd.IntN(16))
		if pattern[i/splitChunk] == 'b' {
			b[i] += 128
		}
	}
	return b
}

func TestSplits(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	const n = maxSplit / splitChunk
	as, bs := strings.Repeat("a", n), strings.Repeat("b", n)
	for _, tt := range []struct {
		pattern string
		want    []int // in chunks
	}{
		{"a", nil}, {"aaaa", nil}, {"aabb", []int{2}}, {"abab", []int{1, 2, 3}},
		{as, nil}, {as + "a", []int{n}}, {as + as, []int{n}}, {as + bs, []int{n}},
		{"bbbb" + as, []int{4}}, {"b" + as + "a", []int{1, 1 + n}}, {as + as + "b", []int{n, 2 * n}},
	} {
		var got []int
		for _, c := range splits(nil, kinds(tt.pattern, rnd)) {
			if c%splitChunk != 0 {
				t.Errorf("%s: cut at %d", tt.pattern, c)
			}
			got = append(got, c/splitChunk)
		}
		if !equal(got, tt.want) {
			t.Errorf("%s: cuts at %v; want %v", tt.pattern, got, tt.want)
		}
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// What the kernel's squashfs asks of a frame: a window no larger than a block
// of the image, and no empty block at its end.
func TestFramesForTheKernel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	const size = 256 << 10
	c, err := newCompressor(Options{}.withDefaults(), size)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 400 {
		pattern := make([]byte, 1+rnd.IntN(size/splitChunk))
		if round%3 == 0 {
			pattern = pattern[:cap(pattern)]
		}
		kind := byte('a')
		for i := range pattern {
			if rnd.IntN(1+round%20) == 0 {
				kind ^= 'a' ^ 'b'
			}
			pattern[i] = kind
		}
		src := kinds(string(pattern), rnd)
		if round%2 == 0 {
			src = src[:len(src)-rnd.IntN(splitChunk)]
		}
		frame := c.compress(nil, src)
		if got, err := dec.DecodeAll(frame, nil); err != nil || !bytes.Equal(got, src) {
			t.Fatalf("%s: %d bytes decode to %d: %v", pattern, len(src), len(got), err)
		}
		var h zstd.Header
		if err := h.Decode(frame); err != nil {
			t.Fatal(err)
		}
		if h.WindowSize > size {
			t.Errorf("%s: window of %d bytes", pattern, h.WindowSize)
		}
		if last := lastBlockSize(frame[h.HeaderSize:]); last == 0 {
			t.Errorf("%s: the frame ends with an empty block", pattern)
		}
	}
}

// lastBlockSize returns the length of the last block of a frame (RFC 8878, 3.1.1.2).
func lastBlockSize(b []byte) int {
	for {
		header := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
		size := header >> 3
		if header&1 != 0 {
			return size
		}
		if header>>1&3 == 1 { // a repeated byte
			size = 1
		}
		b = b[3+size:]
	}
}
