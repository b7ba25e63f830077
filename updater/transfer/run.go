package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
	io.WriterAt // whole blocks, from the second on, in any order
	WriteFirst(block []byte) error
	// Sync makes durable what was written, so that a power cut does not cost
	// much of what was fetched.
	Sync() error
}

// syncBytes is how much is fetched between two Syncs.
const syncBytes = 16 << 20

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
	r := &run{Plan: p, remote: remote, sink: sink, progress: progress, toFetch: p.toFetch}
	err := r.all(ctx)
	return r.figures(), err
}

// run is a Run under way.
type run struct {
	*Plan
	remote   Remote
	sink     Sink
	progress func(Progress)
	fetched  atomic.Int64
	ranges   atomic.Int64

	mu      sync.Mutex // of what follows, and of writing
	whole   bool       // the remote has no ranges
	toFetch int64
	synced  int64         // what was fetched by then
	first   []byte        // block 0
	late    []delta.Range // to be fetched after all
	again   []delta.Copy  // repeats of what was not there yet
	done    Figures       // Copied and Kept
	came    int64         // bytes from the remote that are where they belong
	there   int64         // all that are
}

// all does everything in an order in which no block is overwritten before it is
// read. Where nothing moves within the target, copying and fetching go on at
// the same time.
func (r *run) all(ctx context.Context) error {
	missing := r.blocks.Missing
	if r.moves() {
		if err := r.copyAll(ctx, r.blocks.Copies); err != nil {
			return err
		}
		missing = r.addLate(missing)
	} else if err := r.both(ctx); err != nil {
		return err
	} else {
		missing = r.addLate(nil)
	}
	if err := r.fetchAll(ctx, missing); err != nil {
		return err
	}
	if err := r.repeatAll(ctx); err != nil {
		return err
	}
	return r.sink.WriteFirst(r.first)
}

// moves says whether blocks of the target are to be copied within it.
func (r *run) moves() bool {
	return slices.ContainsFunc(r.blocks.Copies, func(c delta.Copy) bool { return c.Source == r.place && !r.keeps(c) })
}

// both copies and fetches.
func (r *run) both(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.fetchAll(ctx, r.blocks.Missing); err != nil {
			cancel(err)
		}
	})
	if err := r.copyAll(ctx, r.blocks.Copies); err != nil {
		cancel(err)
	}
	wg.Wait()
	return context.Cause(ctx)
}

// addLate adds the blocks that could not be copied to missing ones.
func (r *run) addLate(missing []delta.Range) []delta.Range {
	if len(r.late) == 0 {
		return missing
	}
	blocks, bytes := count(r.late), r.bytes(r.join(r.late), r.late)
	r.opt.Say(fmt.Sprintf("%d blocks on this device are not what their hash tree says: they are fetched", blocks))
	r.toFetch += bytes
	all := append(slices.Clone(missing), r.late...)
	slices.SortFunc(all, func(a, b delta.Range) int { return int(a.First - b.First) })
	var joined []delta.Range
	for _, m := range all {
		joined = miss(joined, m)
	}
	return joined
}

// repeatAll copies the blocks that had to wait for others.
func (r *run) repeatAll(ctx context.Context) error {
	c := newChunk(1)
	defer c.free()
	for _, again := range r.again {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		c.begin(again.To)
		r.mu.Lock()
		ok, err := r.repeat(c, again.From, again.To)
		r.tell()
		r.mu.Unlock()
		if err != nil {
			return err
		}
		if !ok {
			return fault.Errorf(fault.Verify, "reading the slot at byte %d: not what was written there", again.From*verity.BlockSize)
		}
	}
	return nil
}

// write writes blocks of a chunk, all of one kind, which are right.
func (r *run) write(c *chunk, blocks delta.Range, sum *int64) error {
	if blocks.First == 0 {
		r.first = bytes.Clone(c.bytes(blocks))
	} else if _, err := r.sink.WriteAt(c.bytes(blocks), blocks.First*verity.BlockSize); err != nil {
		return err
	}
	r.placed(blocks, sum)
	if fetched := r.fetched.Load(); !r.opt.Near && fetched-r.synced >= syncBytes {
		r.synced = fetched
		return r.sink.Sync()
	}
	return nil
}

// placed counts blocks that are where they belong.
func (r *run) placed(blocks delta.Range, sum *int64) {
	r.there += blocks.Blocks() * verity.BlockSize
	*sum += blocks.Blocks() * verity.BlockSize
}

// tell tells how far the transfer is.
func (r *run) tell() {
	if r.progress != nil {
		r.progress(Progress{Figures: r.figures(), Done: r.there, ToFetch: max(r.toFetch, r.fetched.Load())})
	}
}

func (r *run) figures() Figures {
	f := r.done
	f.Fetched, f.Ranges, f.Whole = r.fetched.Load(), int(r.ranges.Load()), r.whole
	return f
}

// count is how many blocks ranges have.
func count(ranges []delta.Range) (n int64) {
	for _, r := range ranges {
		n += r.Blocks()
	}
	return n
}
