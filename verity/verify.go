package verity

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// VerifyBlock checks one data block against its hash.
func (t *Tree) VerifyBlock(i int64, p []byte) error {
	if i < 0 || i >= t.DataBlocks {
		return fmt.Errorf("data block %d of %d: %w", i, t.DataBlocks, ErrCorrupt)
	}
	if len(p) != BlockSize {
		return fmt.Errorf("data block %d has %d bytes; want %d: %w", i, len(p), BlockSize, ErrCorrupt)
	}
	var want [hashSize]byte
	if err := t.Hashes(want[:], i); err != nil {
		return err
	}
	if got := t.HashBlock(p); got != want {
		return fmt.Errorf("data block %d at byte %d has hash %x; want %x: %w", i, i*BlockSize, got[:8], want[:8], ErrCorrupt)
	}
	return nil
}

// verifyChunk is how much one goroutine reads and checks at a time, in bytes.
const verifyChunk = 1 << 20

// VerifyData reads the whole image and checks it, on all processors, with a
// buffer of 1 MiB for each. Of several bad blocks it reports the first.
// progress, if not nil, is called with the number of bytes done, never by two
// goroutines at a time. The error is the context's cause when it is canceled.
func (t *Tree) VerifyData(ctx context.Context, r io.ReaderAt, progress func(done int64)) error {
	v := &verification{tree: t, r: r, progress: progress, size: t.DataBlocks * BlockSize}
	var wg sync.WaitGroup
	for range min(int64(runtime.GOMAXPROCS(0)), (v.size-1)/verifyChunk+1) {
		wg.Go(func() { v.run(ctx) })
	}
	wg.Wait()
	return v.err
}

// verification is a VerifyData under way.
type verification struct {
	tree     *Tree
	r        io.ReaderAt
	progress func(done int64)
	size     int64

	mu      sync.Mutex
	nextOff int64 // of the chunk to be taken next
	done    int64
	err     error // of the chunk at errOff
	errOff  int64
}

// take hands out chunks in order. After an error it hands out none, so that
// every chunk before the bad one has been taken and may still report a
// better, earlier error.
func (v *verification) take() (off, n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil {
		return 0, 0
	}
	off, n = v.nextOff, min(verifyChunk, v.size-v.nextOff)
	v.nextOff += n
	return off, n
}

func (v *verification) report(off, n int64, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		if v.err == nil || off < v.errOff {
			v.err, v.errOff = err, off
		}
		return
	}
	v.done += n
	if v.progress != nil {
		v.progress(v.done)
	}
}

func (v *verification) run(ctx context.Context) {
	room := blockdev.NewBuffer(int(min(verifyChunk, v.size)))
	defer room.Free()
	buf := room.Bytes()
	hashes := make([]byte, 2*len(buf)/BlockSize*hashSize)
	for {
		off, n := v.take()
		if n == 0 {
			return
		}
		err := context.Cause(ctx)
		if err == nil {
			err = v.check(buf[:n], hashes[:2*n/BlockSize*hashSize], off)
		}
		v.report(off, n, err)
	}
}

// check reads and compares one chunk. hashes is room for two hashes a block.
func (v *verification) check(buf, hashes []byte, off int64) error {
	if err := readFull(v.r, buf, off, v.size); err != nil {
		return fmt.Errorf("reading data at byte %d: %w", off, err)
	}
	got, want := hashes[:len(hashes)/2], hashes[len(hashes)/2:]
	hashBlocks(got, buf, v.tree.Salt)
	first := off / BlockSize
	if err := v.tree.Hashes(want, first); err != nil {
		return err
	}
	if bytes.Equal(got, want) {
		return nil
	}
	for i := int64(0); ; i++ {
		if err := v.tree.VerifyBlock(first+i, buf[i*BlockSize:][:BlockSize]); err != nil {
			return err
		}
	}
}
