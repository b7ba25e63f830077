package transfer

import (
	"context"
	"runtime"
	"sync"

	"github.com/abupdate/abupdate/updater/delta"
	"github.com/abupdate/abupdate/verity"
)

// A copying is a pass through a plan's copies. Workers take chunks in order and
// write them in order, so that a block of the target is read before it is
// overwritten; in between they read and hash on their own.
type copying struct {
	*run
	blocks int64

	taking sync.Mutex // of what follows
	copies []delta.Copy
	taken  int64
	last   int64 // end of the chunk that was taken last

	turn sync.Cond // of what follows; its lock is the run's
	next int64     // ticket of the chunk to be written
	err  error
}

// copyAll carries copies out. Blocks that are not what their tree says are
// added to late, repeats of blocks that are not there yet to again.
func (r *run) copyAll(ctx context.Context, copies []delta.Copy) error {
	c := &copying{run: r, blocks: r.blocks.Blocks, copies: copies}
	c.turn.L = &r.mu
	var wg sync.WaitGroup
	for range workers() {
		wg.Go(func() { c.fail(c.work(ctx)) })
	}
	wg.Wait()
	return c.err
}

// workers is how many goroutines keep processors and disk busy.
func workers() int { return min(runtime.GOMAXPROCS(0), 4) + 1 }

// fail records the first error; what the others do then is of no interest.
func (c *copying) fail(err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.turn.Broadcast()
}

func (c *copying) work(ctx context.Context) error {
	ch := newChunk(chunkBlocks)
	defer ch.free()
	for c.take(ch) {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		for _, p := range ch.parts {
			if p.kind != keep && p.kind != local {
				continue
			}
			c.read(ch, p)
			if err := ch.check(c.tree, p.to); err != nil {
				return err
			}
		}
		if err := c.put(ch); err != nil {
			return err
		}
	}
	return nil
}

// take makes ch the next chunk, if there is one.
func (c *copying) take(ch *chunk) bool {
	c.taking.Lock()
	defer c.taking.Unlock()
	if len(c.copies) == 0 {
		return false
	}
	ch.End = c.last
	c.copies = ch.fill(c.copies, c.blocks, c.kindOf)
	ch.ticket, c.last = c.taken, ch.End
	c.taken++
	return true
}

// kindOf is that of a copy. What a scan found was hashed already; but the first
// block is written in any case.
func (r *run) kindOf(c delta.Copy) kind {
	switch {
	case c.Source == delta.Self:
		return repeat
	case !r.keeps(c):
		return local
	case r.scanned && c.To.First > 0:
		return stay
	}
	return keep
}

// read reads what is on the device. What cannot be read is as good as wrong.
func (c *copying) read(ch *chunk, p part) {
	image := c.target.Image
	if p.source != c.place {
		image = c.sources[p.source].Image
	}
	buf := ch.bytes(p.to)
	n, _ := image.ReadAt(buf, p.from*verity.BlockSize)
	clear(buf[n:])
}

// put writes a chunk when it is its turn.
func (c *copying) put(ch *chunk) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.next != ch.ticket && c.err == nil {
		c.turn.Wait()
	}
	if c.err != nil {
		return c.err
	}
	for i := ch.First; i < ch.End; {
		k, blocks := ch.run(i)
		if err := c.putRun(ch, k, blocks); err != nil {
			return err
		}
		i = blocks.End
	}
	c.tell()
	c.next++
	c.turn.Broadcast()
	return nil
}

func (c *copying) putRun(ch *chunk, k kind, blocks delta.Range) error {
	switch k {
	case stay:
		c.placed(blocks, &c.done.Kept)
	case bad:
		c.late = miss(c.late, blocks)
	case keep:
		if blocks.First == 0 {
			return c.write(ch, blocks, &c.done.Kept)
		}
		c.placed(blocks, &c.done.Kept)
	case local:
		return c.write(ch, blocks, &c.done.Copied)
	case repeat:
		return c.repeats(ch, blocks)
	}
	return nil
}

// repeats copies blocks that stand in the new image further ahead, as far as
// they are there.
func (c *copying) repeats(ch *chunk, blocks delta.Range) error {
	for _, p := range ch.parts {
		if p.kind != repeat {
			continue
		}
		for i := max(p.to.First, blocks.First); i < min(p.to.End, blocks.End); i++ {
			from, to := p.from+i-p.to.First, delta.Range{First: i, End: i + 1}
			if ok, err := c.repeat(ch, from, to); err != nil {
				return err
			} else if !ok {
				c.again = append(c.again, delta.Copy{Source: delta.Self, From: from, To: to})
			}
		}
	}
	return nil
}

// repeat copies one block, if it is there.
func (r *run) repeat(ch *chunk, from int64, to delta.Range) (bool, error) {
	buf := ch.bytes(to)
	if from == 0 {
		clear(buf[copy(buf, r.first):])
	} else {
		n, _ := r.target.Image.ReadAt(buf, from*verity.BlockSize)
		clear(buf[n:])
	}
	at := to.First - ch.First
	ch.kinds[at] = repeat
	if err := ch.check(r.tree, to); err != nil || ch.kinds[at] == bad {
		return false, err
	}
	return true, r.write(ch, to, &r.done.Copied)
}

// miss adds blocks to ranges that ascend.
func miss(ranges []delta.Range, blocks delta.Range) []delta.Range {
	if n := len(ranges) - 1; n >= 0 && ranges[n].End == blocks.First {
		ranges[n].End = blocks.End
		return ranges
	}
	return append(ranges, blocks)
}
