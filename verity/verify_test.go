package verity_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/verity"
)

func TestVerifyBlock(t *testing.T) {
	data := randomBlocks(130, 2)
	tree := mustBuild(t, data, verity.DefaultParams())
	for i := range int64(130) {
		block := data[i*verity.BlockSize:][:verity.BlockSize]
		if err := tree.VerifyBlock(i, block); err != nil {
			t.Errorf("VerifyBlock(%d) = %v; want nil", i, err)
		}
		var hash [32]byte
		if err := tree.Hashes(hash[:], i); err != nil || tree.HashBlock(block) != hash {
			t.Errorf("HashBlock(block %d) = %x; Hashes() = %x, %v", i, tree.HashBlock(block), hash, err)
		}
	}
	for _, tt := range []struct {
		name  string
		i     int64
		block []byte
	}{
		{"another block", 1, data[:verity.BlockSize]},
		{"short", 0, data[:verity.BlockSize-1]},
		{"long", 0, data[:verity.BlockSize+1]},
		{"before the first", -1, data[:verity.BlockSize]},
		{"behind the last", 130, data[:verity.BlockSize]},
	} {
		if err := tree.VerifyBlock(tt.i, tt.block); !errors.Is(err, verity.ErrCorrupt) {
			t.Errorf("%s: VerifyBlock() = %v; want ErrCorrupt", tt.name, err)
		}
	}
}

func TestVerifyData(t *testing.T) {
	for _, n := range []int{1, 2, 255, 256, 257, 1000} {
		data := randomBlocks(n, 3)
		tree := mustBuild(t, data, verity.DefaultParams())
		var last int64
		err := tree.VerifyData(t.Context(), bytes.NewReader(data), func(done int64) {
			if done <= last {
				t.Errorf("%d blocks: progress went from %d to %d", n, last, done)
			}
			last = done
		})
		if err != nil || last != int64(len(data)) {
			t.Errorf("%d blocks: VerifyData() = %v, progress ends at %d; want nil, %d", n, err, last, len(data))
		}
	}
}

func TestVerifyDataNamesTheFirstBadBlock(t *testing.T) {
	const n = 1100 // five chunks
	data := randomBlocks(n, 4)
	tree := mustBuild(t, data, verity.DefaultParams())
	for _, bad := range [][]int{{0}, {n - 1}, {255, 256}, {600, 601, 1000}, {300, 20, 900}} {
		corrupt := bytes.Clone(data)
		first := n
		for _, i := range bad {
			corrupt[i*verity.BlockSize+i] ^= 1
			first = min(first, i)
		}
		err := tree.VerifyData(t.Context(), bytes.NewReader(corrupt), nil)
		want := fmt.Sprintf("data block %d at byte %d ", first, first*verity.BlockSize)
		if !errors.Is(err, verity.ErrCorrupt) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("blocks %v bad: VerifyData() = %v; want ErrCorrupt, %s", bad, err, want)
		}
	}
}

func TestVerifyDataErrors(t *testing.T) {
	data := randomBlocks(600, 5)
	tree := mustBuild(t, data, verity.DefaultParams())
	if err := tree.VerifyData(t.Context(), bytes.NewReader(data[:len(data)-1]), nil); !errors.Is(err, verity.ErrCorrupt) {
		t.Errorf("VerifyData(one byte missing) = %v; want ErrCorrupt", err)
	}
	boom := errors.New("boom")
	if err := tree.VerifyData(t.Context(), failingReader{boom}, nil); !errors.Is(err, boom) || errors.Is(err, verity.ErrCorrupt) {
		t.Errorf("VerifyData(a reader that fails) = %v; want its error, not ErrCorrupt", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	err := tree.VerifyData(ctx, bytes.NewReader(data), func(int64) { cancel(boom) })
	if !errors.Is(err, boom) {
		t.Errorf("VerifyData(canceled after the first chunk) = %v; want the cause", err)
	}
}
