package updater

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/verity"
)

// DefaultReadRate is how fast Health reads a slot, in bytes a second: it is in
// no hurry, and the system has just come up.
const DefaultReadRate = 64 << 20

// readChunk is how much is read at once; a multiple of verity.BlockSize.
const readChunk = 256 << 10

// A limit spreads reads over time.
type limit struct {
	rate  int64
	now   func() time.Time
	sleep func(context.Context, time.Duration) error
	ready time.Time // when the next bytes may come
}

func newLimit(rate Rate, now func() time.Time, sleep func(context.Context, time.Duration) error) *limit {
	if rate == 0 {
		rate = DefaultReadRate
	}
	if now == nil {
		now = time.Now
	}
	return &limit{rate: int64(rate), now: now, sleep: sleep}
}

// take waits until n more bytes may come. Time that nobody used is not saved
// up.
func (l *limit) take(ctx context.Context, n int) error {
	now := l.now()
	wait := l.ready.Sub(now)
	l.ready = now.Add(max(wait, 0) + time.Duration(float64(n)/float64(l.rate)*float64(time.Second)))
	if wait <= 0 {
		return nil
	}
	return l.sleep(ctx, wait)
}

// readGently reads a slot from the medium, against its hash tree, when nobody
// else wants the disk or the processor, and not too fast.
func (s *System) readGently(ctx context.Context, slot bootctl.Slot, l *limit, progress Progress) error {
	sec, err := s.slot(slot)
	if err != nil {
		return err
	}
	content, err := s.content(slot)
	if err != nil {
		return err
	}
	tree, err := content.Tree(sec)
	if err != nil {
		return err
	}
	if err := blockdev.Invalidate(sec, 0, sec.Size()); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		// The thread has its priorities from here on, and ends with this.
		runtime.LockOSThread()
		stepBack()
		done <- readAll(ctx, sec, tree, l, progress)
	}()
	return <-done
}

// readAll checks every block of an image.
func readAll(ctx context.Context, dev blockdev.Device, tree *verity.Tree, l *limit, progress Progress) error {
	size := tree.DataBlocks * verity.BlockSize
	buf := make([]byte, readChunk)
	for off := int64(0); off < size; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		p := buf[:min(readChunk, size-off)]
		if err := l.take(ctx, len(p)); err != nil {
			return err
		}
		if n, err := dev.ReadAt(p, off); n < len(p) {
			return fmt.Errorf("reading at byte %d: %w", off+int64(n), err)
		}
		if err := verifyBlocks(tree, off/verity.BlockSize, p); err != nil {
			return err
		}
		off += int64(len(p))
		progress.Report(StepVerify, off, size)
	}
	return nil
}
