package transfer

import (
	"context"
	"io"
	"sync"

	"github.com/abupdate/abupdate/updater/delta"
	"github.com/abupdate/abupdate/verity"
)

// scanWorkers is how many goroutines hash at a time.
const scanWorkers = 2

// scan is the source that is made of the blocks themselves: the first ones of
// image, as many as a tree has. A block that cannot be read equals none.
func scan(ctx context.Context, image io.ReaderAt, like *verity.Tree) delta.Source {
	return delta.Source{Salt: like.Salt, Blocks: like.DataBlocks, Hashes: func(sums []byte, first int64) error {
		var wg sync.WaitGroup
		pieces := make(chan int64)
		blocks := int64(len(sums) / verity.HashSize)
		for range scanWorkers {
			wg.Go(func() {
				buf := make([]byte, chunkBytes)
				for at := range pieces {
					n := min(chunkBlocks, blocks-at)
					hashAll(like.Params, image, sums[at*verity.HashSize:][:n*verity.HashSize], buf[:n*verity.BlockSize], first+at)
				}
			})
		}
		for at := int64(0); at < blocks && ctx.Err() == nil; at += chunkBlocks {
			pieces <- at
		}
		close(pieces)
		wg.Wait()
		return context.Cause(ctx)
	}}
}

// hashAll reads blocks from number first on into buf, and hashes them.
func hashAll(p verity.Params, image io.ReaderAt, sums, buf []byte, first int64) {
	n, _ := image.ReadAt(buf, first*verity.BlockSize)
	n -= n % verity.BlockSize
	p.HashBlocks(sums, buf[:n])
	clear(sums[n/verity.BlockSize*verity.HashSize:])
}
