package blockdevtest_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

// Images have the same sum when they read the same, however they came to it.
func TestSum(t *testing.T) {
	const size = 5*4096 + 512
	base := blockdevtest.NewImage(blockdev.NewMemory(make([]byte, size)))
	if _, err := base.WriteAt(bytes.Repeat([]byte("base"), 3000), 100); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	known := make(map[uint64]string) // content by sum
	sums := make(map[string]uint64)
	images := []*blockdevtest.Image{base}
	for range 2000 {
		under := images[rnd.IntN(len(images))]
		img := blockdevtest.NewImage(under)
		if rnd.IntN(3) == 0 {
			img = blockdevtest.NewImage(blockdevtest.NewRecorder(under))
		}
		for range rnd.IntN(4) {
			p := bytes.Repeat([]byte{byte(rnd.IntN(2))}, 512*(1+rnd.IntN(3)))
			if _, err := img.WriteAt(p, 512*rnd.Int64N((size-int64(len(p)))/512+1)); err != nil {
				t.Fatal(err)
			}
			img.Sum()
		}
		content := make([]byte, size)
		if _, err := img.ReadAt(content, 0); err != nil {
			t.Fatal(err)
		}
		sum := img.Sum()
		if other, ok := known[sum]; ok && other != string(content) {
			t.Fatalf("two contents have the sum %#x", sum)
		}
		if other, ok := sums[string(content)]; ok && other != sum {
			t.Fatalf("one content has the sums %#x and %#x", sum, other)
		}
		known[sum], sums[string(content)] = string(content), sum
		if len(images) < 50 {
			images = append(images, img)
		}
	}
	if len(sums) < 100 || len(sums) > 1990 {
		t.Errorf("%d contents; want many, and some more than once", len(sums))
	}
}
