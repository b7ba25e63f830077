package verity_test

import (
	"bytes"
	"testing"

	"github.com/abupdate/abupdate/verity"
)

// The content makes no difference to a hash: one kind of data is enough.

func BenchmarkBuild(b *testing.B) {
	data := randomBlocks(64<<20/verity.BlockSize, 1)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		mustBuild(b, data, verity.DefaultParams())
	}
}

func BenchmarkVerifyData(b *testing.B) {
	data := randomBlocks(64<<20/verity.BlockSize, 1)
	tree := mustBuild(b, data, verity.DefaultParams())
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := tree.VerifyData(b.Context(), bytes.NewReader(data), nil); err != nil {
			b.Fatal(err)
		}
	}
}
