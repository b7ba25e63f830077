package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/delta"
	"github.com/abupdate/abupdate/verity"
)

// ErrMismatch is wrapped by the error for a block that is not the update's. It
// was not written.
var ErrMismatch = errors.New("the update changed, or was damaged on its way")

// A Sink takes the blocks of an image. Block 0 holds the superblock, so it
// comes last.
type Sink interface {
	io.WriterAt // whole blocks, from the second on, ascending
	WriteFirst(block []byte) error
}

// Progress is how far a transfer is.
type Progress struct {
	Figures       // so far
	Done    int64 // bytes of the image that are where they belong
	ToFetch int64 // bytes, in all, as far as it is known
}

// Run carries the plan out. The sink writes what the plan's target reads. When
// Run returns an error, the blocks that were written are right: a plan made
// anew, with Target.Scan, finds them. progress may be nil.
func (p *Plan) Run(ctx context.Context, remote Remote, sink Sink, progress func(Progress)) (Figures, error) {
	if size := p.tree.DataBlocks * verity.BlockSize; remote.Size() != size {
		return Figures{}, fault.Errorf(fault.Verify, "the update's image has %d bytes; its hash tree is of %d", remote.Size(), size)
	}
	r := &run{Plan: p, remote: remote, sink: sink, progress: progress, toFetch: p.fetch.Blocks() * verity.BlockSize}
	err := r.pass(ctx, p.blocks, p.fetch.Ranges)
	if err == nil && len(r.late) > 0 {
		p.opt.Say(fmt.Sprintf("%d blocks on this device are not what their hash tree says; they are fetched", (&delta.Plan{Missing: r.late}).MissingBlocks()))
		again := &delta.Plan{Blocks: p.blocks.Blocks, Missing: r.late}
		fetch := again.Fetch(p.opt.Gap/verity.BlockSize, p.opt.MaxRanges)
		r.toFetch += fetch.Blocks() * verity.BlockSize
		err = r.pass(ctx, again, fetch.Ranges)
	}
	if err == nil {
		err = sink.WriteFirst(r.first)
	}
	return r.figures(), err
}

// run is a Run under way. Workers take chunks in order and write them in
// order; in between they read and hash on their own.
type run struct {
	*Plan
	remote   Remote
	sink     Sink
	progress func(Progress)
	toFetch  int64
	fetched  atomic.Int64
	ranges   atomic.Int64
	whole    bool // the remote has no ranges

	taking sync.Mutex // of what follows
	cursor cursor
	puller *puller // nil for a remote at hand
	taken  int64

	mu    sync.Mutex // of what follows, and of writing
	turn  sync.Cond
	next  int64 // ticket of the chunk to be written
	err   error
	first []byte // block 0
	late  []delta.Range
	done  Figures // Copied and Kept
	bytes int64
}

// pass goes through the image once.
func (r *run) pass(ctx context.Context, plan *delta.Plan, ranges []delta.Range) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.cursor = cursor{missing: plan.Missing, copies: plan.Copies, blocks: plan.Blocks}
	r.late, r.taken, r.next, r.turn.L = nil, 0, 0, &r.mu
	if r.opt.Near {
		r.ranges.Add(int64(len(ranges)))
	} else {
		r.pull(ctx, ranges)
		defer func() { r.puller.close() }()
	}
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 4) + 1 {
		wg.Go(func() {
			if err := r.work(ctx); err != nil {
				r.fail(err)
				cancel()
			}
		})
	}
	wg.Wait()
	return r.err
}

// fail records the first error; what the others do then is of no interest.
func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.turn.Broadcast()
}

func (r *run) work(ctx context.Context) error {
	c := newChunk()
	for {
		if more, err := r.take(ctx, c); err != nil || !more {
			return err
		}
		if !c.idle() {
			if err := r.load(ctx, c); err != nil {
				return err
			}
			if err := c.check(r.tree); err != nil {
				return err
			}
		}
		if err := r.put(c); err != nil {
			return err
		}
	}
}

// take fills c with the next chunk's parts, and with what has to be fetched of
// it.
func (r *run) take(ctx context.Context, c *chunk) (more bool, err error) {
	r.taking.Lock()
	defer r.taking.Unlock()
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	if !r.cursor.next(c, r.kindOf) {
		return false, nil
	}
	c.ticket = r.taken
	r.taken++
	if r.puller == nil {
		return true, nil
	}
	for _, p := range c.parts {
		if p.kind == remote {
			if err := r.fetch(ctx, c.bytes(p.to), p.to.First); err != nil {
				return false, err
			}
		}
	}
	return true, nil
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

// load reads what is on the device. What cannot be read is as good as wrong.
func (r *run) load(ctx context.Context, c *chunk) error {
	for _, p := range c.parts {
		switch p.kind {
		case remote:
			if r.puller == nil {
				if err := r.readNear(ctx, c.bytes(p.to), p.to.First); err != nil {
					return err
				}
			}
		case keep, local:
			image := r.target.Image
			if p.source != r.place {
				image = r.sources[p.source].Image
			}
			buf := c.bytes(p.to)
			n, _ := image.ReadAt(buf, p.from*verity.BlockSize)
			clear(buf[n:])
		}
	}
	return nil
}

// put writes a chunk when it is its turn.
func (r *run) put(c *chunk) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.next != c.ticket && r.err == nil {
		r.turn.Wait()
	}
	if r.err != nil {
		return r.err
	}
	if err := r.repeats(c); err != nil {
		return err
	}
	if err := r.write(c); err != nil {
		return err
	}
	r.count(c)
	r.next++
	r.turn.Broadcast()
	return nil
}

// repeats copies blocks that the new image has further ahead, where they are
// written by now.
func (r *run) repeats(c *chunk) error {
	for _, p := range c.parts {
		if p.kind != repeat {
			continue
		}
		for i := p.to.First; i < p.to.End; i++ {
			if err := r.repeat(c, p.from+i-p.to.First, i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) repeat(c *chunk, from, to int64) error {
	buf := c.bytes(delta.Range{First: to, End: to + 1})
	switch {
	case from >= c.first && c.kinds[from-c.first] != stay:
		copy(buf, c.bytes(delta.Range{First: from, End: from + 1}))
	case from == 0:
		copy(buf, r.first)
	default:
		if n, _ := r.target.Image.ReadAt(buf, from*verity.BlockSize); n < len(buf) {
			clear(buf)
		}
	}
	at := (to - c.first) * verity.HashSize
	if got := r.tree.HashBlock(buf); !bytes.Equal(got[:], c.want[at:at+verity.HashSize]) {
		c.kinds[to-c.first] = bad
	}
	return nil
}

// write writes the blocks that are to be, in runs, and notes the bad ones.
func (r *run) write(c *chunk) error {
	for i := int64(0); i < c.blocks; {
		k, first := c.kinds[i], i
		for i++; i < c.blocks && writes(c.kinds[i]) == writes(k) && (c.kinds[i] == bad) == (k == bad) && c.first+i != 1; i++ {
		}
		blocks := delta.Range{First: c.first + first, End: c.first + i}
		switch {
		case k == bad:
			r.miss(blocks)
		case blocks.First == 0 && (writes(k) || k == keep):
			r.first = bytes.Clone(c.bytes(blocks))
		case writes(k):
			if _, err := r.sink.WriteAt(c.bytes(blocks), blocks.First*verity.BlockSize); err != nil {
				return err
			}
		}
	}
	return nil
}

// writes says whether blocks of a kind are written.
func writes(k kind) bool { return k == local || k == repeat || k == remote }

// miss notes blocks to be fetched after all the others.
func (r *run) miss(blocks delta.Range) {
	if n := len(r.late) - 1; n >= 0 && r.late[n].End == blocks.First {
		r.late[n].End = blocks.End
		return
	}
	r.late = append(r.late, blocks)
}

// count counts a chunk's blocks and tells of them.
func (r *run) count(c *chunk) {
	before := r.bytes
	for _, k := range c.kinds[:c.blocks] {
		switch k {
		case local, repeat:
			r.done.Copied += verity.BlockSize
		case keep, stay:
			r.done.Kept += verity.BlockSize
		case bad, leave:
			continue
		}
		r.bytes += verity.BlockSize
	}
	if r.progress != nil && r.bytes > before {
		r.progress(Progress{Figures: r.figures(), Done: r.bytes, ToFetch: r.toFetch})
	}
}

func (r *run) figures() Figures {
	f := r.done
	f.Fetched, f.Ranges = r.fetched.Load(), int(r.ranges.Load())
	return f
}
