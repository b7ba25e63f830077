package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/delta"
	"github.com/abupdate/abupdate/verity"
)

// A Remote is an image that is read in pieces, from afar or from a file.
type Remote interface {
	Size() int64
	// Open gives the n bytes from off on: io.EOF after exactly n, or another
	// error. Several may be open at once. One that has a method
	//	Distrust(cause error) bool
	// is told when what it gave was wrong, and says whether another Open may
	// give something else.
	Open(ctx context.Context, off, n int64) (io.ReadCloser, error)
}

// fetchBlocks is how many blocks are fetched before they are written, and lost
// when the transfer is killed.
const fetchBlocks = 16

// fetchAll fetches the missing blocks, in ranges of which several are in
// flight, or if there are none to be had by reading the remote from its start.
func (r *run) fetchAll(ctx context.Context, missing []delta.Range) error {
	if len(missing) == 0 {
		return nil
	}
	if !r.whole {
		err := r.fetchRanges(ctx, missing)
		if err == nil || r.opt.NoRanges == nil || !errors.Is(err, r.opt.NoRanges) {
			return err
		}
		if r.opt.Whole == nil {
			return fault.Errorf(fault.Network, "%w: only all of the image could be had, which was forbidden", err)
		}
		r.mu.Lock()
		r.whole = true
		r.opt.Say("the server gives no ranges: all of the image is fetched")
		r.toFetch = r.fetched.Load() + missing[len(missing)-1].End*verity.BlockSize
		r.there, r.came = r.there-r.came, 0 // what came in ranges comes again
		r.mu.Unlock()
	}
	return r.fetchWhole(ctx, missing)
}

// fetchWhole reads the remote from its start, and again from what was wrong on
// if somebody else may have that right.
func (r *run) fetchWhole(ctx context.Context, missing []delta.Range) error {
	c := newChunk(fetchBlocks)
	defer c.free()
	for all := (delta.Range{End: missing[len(missing)-1].End}); ; {
		r.ranges.Add(1)
		body, err := r.opt.Whole(ctx)
		if err != nil {
			return err
		}
		at, err := r.fetch(ctx, c, body, all, missing)
		if err == nil || !elsewhere(body, err) {
			return err
		}
		missing = within(missing, delta.Range{First: at, End: all.End})
	}
}

// elsewhere says whether what was wrong in a body may be right in another.
func elsewhere(body io.ReadCloser, err error) bool {
	d, ok := body.(interface{ Distrust(error) bool })
	return ok && fault.KindOf(err) == fault.Verify && !errors.Is(err, verity.ErrCorrupt) && d.Distrust(err)
}

// fetchRanges fetches the missing blocks in ranges.
func (r *run) fetchRanges(ctx context.Context, missing []delta.Range) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ranges, inFlight := r.join(missing), r.opt.InFlight
	if r.opt.Near {
		r.ranges.Add(int64(len(ranges)))
		ranges, inFlight = split(missing, len(missing)+int(r.blocks.Blocks/leastPart)), workers()
	}
	todo, step := make(chan delta.Range), int64(fetchBlocks)
	if r.opt.Near {
		step = mostBlocks
	}
	var wg sync.WaitGroup
	for range min(inFlight, len(ranges)) {
		wg.Go(func() {
			c := newChunk(step)
			defer c.free()
			for part := range todo {
				if err := r.fetchPart(ctx, c, part, missing); err != nil {
					cancel(err) // the first counts
				}
			}
		})
	}
	for _, part := range ranges {
		if ctx.Err() != nil {
			break
		}
		todo <- part
	}
	close(todo)
	wg.Wait()
	return context.Cause(ctx)
}

func (r *run) fetchPart(ctx context.Context, c *chunk, part delta.Range, missing []delta.Range) error {
	for {
		off := part.First * verity.BlockSize
		if !r.opt.Near {
			r.ranges.Add(1)
		}
		body, err := r.remote.Open(ctx, off, part.Blocks()*verity.BlockSize)
		if err != nil {
			return fmt.Errorf("fetching at byte %d: %w", off, err)
		}
		part.First, err = r.fetch(ctx, c, body, part, missing)
		if err == nil || !elsewhere(body, err) {
			return err
		}
		if part.First == part.End { // only what came behind it was wrong
			return nil
		}
	}
}

// fetch reads a part of the image from body, and writes what is missing of it.
// It returns up to where it did.
func (r *run) fetch(ctx context.Context, c *chunk, body io.ReadCloser, part delta.Range, missing []delta.Range) (at int64, err error) {
	defer func() {
		if cerr := body.Close(); err == nil {
			err = cerr
		}
	}()
	in := &counter{body, &r.fetched}
	at = part.First
	for _, m := range within(missing, part) {
		if n, err := io.CopyN(io.Discard, in, (m.First-at)*verity.BlockSize); err != nil {
			return at, readError(at*verity.BlockSize+n, err)
		}
		for at = m.First; at < m.End; at = c.End {
			if err := context.Cause(ctx); err != nil {
				return at, err
			}
			c.begin(delta.Range{First: at, End: min(at+c.most(), m.End)})
			if n, err := io.ReadFull(in, c.bytes(c.Range)); err != nil {
				return at, readError(at*verity.BlockSize+int64(n), err)
			}
			if err := r.putFetched(c); err != nil {
				return at, err
			}
		}
	}
	if r.whole {
		return at, nil // the rest is of no use
	}
	if n, err := in.Read(make([]byte, 1)); n > 0 {
		return part.End, fault.Errorf(fault.Verify, "fetching at byte %d: more bytes than were asked for", part.End*verity.BlockSize)
	} else if err != nil && err != io.EOF {
		return part.End, readError(part.End*verity.BlockSize, err)
	}
	return part.End, nil
}

// putFetched checks the blocks of c, and writes them. Those behind a wrong one
// are of no use to the caller, but to a later transfer.
func (r *run) putFetched(c *chunk) error {
	want, got, err := c.hash(r.tree, c.Range)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, got) {
		return mismatch(c.First, want, got)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := c.First; i < c.End; {
		_, blocks := c.run(i)
		if err := r.write(c, blocks, &r.came); err != nil {
			return err
		}
		i = blocks.End
	}
	r.tell()
	return nil
}

// mismatch tells which block is not what it should be.
func mismatch(first int64, want, got []byte) error {
	at := 0
	for bytes.Equal(want[at:at+verity.HashSize], got[at:at+verity.HashSize]) {
		at += verity.HashSize
	}
	block := first + int64(at/verity.HashSize)
	return fault.Errorf(fault.Verify, "block %d at byte %d came with hash %x; the hash tree says %x: %w",
		block, block*verity.BlockSize, got[at:at+8], want[at:at+8], ErrMismatch)
}

// readError tells where reading stopped. A body that ends early is a line that
// broke.
func readError(off int64, err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	broke := errors.Is(err, io.ErrUnexpectedEOF)
	if err = fmt.Errorf("fetching at byte %d: %w", off, err); broke {
		err = fault.Wrap(fault.Network, err)
	}
	return err
}
