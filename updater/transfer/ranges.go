package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/delta"
	"github.com/abupdate/abupdate/verity"
)

// A Remote is an image that is read in pieces, from afar or from a file.
type Remote interface {
	Size() int64
	// Open gives the n bytes from off on: io.EOF after exactly n, or another
	// error. Several may be open at once.
	Open(ctx context.Context, off, n int64) (io.ReadCloser, error)
}

// rangeBuffer is how much of a range is fetched ahead, in bytes.
const rangeBuffer = 1 << 20

// A puller fetches ranges, several at a time, and gives them out in order.
type puller struct {
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	inFlight int
	open     func(ctx context.Context, r delta.Range) (io.ReadCloser, error)
	todo     []delta.Range
	pulls    []*pull // under way, in order
	idle     []*ring
	fetched  *atomic.Int64
	started  int
}

// A pull is one range under way.
type pull struct {
	delta.Range
	at   int64 // of the image's bytes: the next to be read
	ring *ring
}

func newPuller(ctx context.Context, ranges []delta.Range, inFlight int, fetched *atomic.Int64, open func(context.Context, delta.Range) (io.ReadCloser, error)) *puller {
	p := &puller{todo: ranges, inFlight: inFlight, open: open, fetched: fetched}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// start begins ranges until enough are in flight.
func (p *puller) start() {
	for len(p.pulls) < p.inFlight && len(p.todo) > 0 {
		next := &pull{Range: p.todo[0], at: p.todo[0].First * verity.BlockSize}
		if n := len(p.idle); n > 0 {
			next.ring, p.idle = p.idle[n-1], p.idle[:n-1]
			next.ring.reset()
		} else {
			next.ring = newRing(rangeBuffer)
		}
		p.pulls, p.todo = append(p.pulls, next), p.todo[1:]
		p.started++
		p.wg.Go(func() { p.pull(next) })
	}
}

func (p *puller) pull(r *pull) {
	rc, err := p.open(p.ctx, r.Range)
	if err != nil {
		r.ring.end(err)
		return
	}
	err = r.ring.fill(rc, func(n int) { p.fetched.Add(int64(n)) })
	if cerr := rc.Close(); cerr != nil && (err == nil || err == io.EOF) {
		err = cerr
	}
	r.ring.end(cmp.Or(err, io.EOF))
}

// read fills buf with the blocks from number first on, which lie within one
// range, or within the parts that it was split into; what lies before them is
// of no use any more.
func (p *puller) read(buf []byte, first int64) error {
	for len(buf) > 0 {
		n, err := p.readPart(buf, first)
		if err != nil {
			return err
		}
		buf, first = buf[n:], first+int64(n)/verity.BlockSize
	}
	return nil
}

// readPart is read up to the end of the range that block first is in.
func (p *puller) readPart(buf []byte, first int64) (int, error) {
	p.start()
	for len(p.pulls) > 0 && p.pulls[0].End <= first {
		if err := p.finish(); err != nil {
			return 0, err
		}
		p.start()
	}
	off := first * verity.BlockSize
	if len(p.pulls) == 0 || p.pulls[0].at > off {
		return 0, fmt.Errorf("fetching block %d: no range has it", first)
	}
	r := p.pulls[0]
	if n, err := io.CopyN(io.Discard, r.ring, off-r.at); err != nil {
		return 0, readError(r.at+n, err)
	}
	n, err := io.ReadFull(r.ring, buf[:min(int64(len(buf)), r.End*verity.BlockSize-off)])
	r.at = off + int64(n)
	if err != nil {
		return n, readError(r.at, err)
	}
	return n, nil
}

// finish ends the first range. Whatever it has beyond its end is an error: the
// server has another blob.
func (p *puller) finish() error {
	r := p.pulls[0]
	end := r.End * verity.BlockSize
	if n, err := io.CopyN(io.Discard, r.ring, end-r.at); err != nil {
		return readError(r.at+n, err)
	}
	if _, err := io.ReadFull(r.ring, make([]byte, 1)); err == nil {
		return fault.Errorf(fault.Verify, "fetching to byte %d: more bytes than were asked for", end)
	} else if err != io.EOF {
		return readError(end, err)
	}
	p.pulls = p.pulls[1:]
	p.idle = append(p.idle, r.ring)
	return nil
}

// readError tells where reading stopped. A body that ends early is a line that
// broke.
func readError(off int64, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.Errorf(fault.Network, "fetching at byte %d: %w", off, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("fetching at byte %d: %w", off, err)
}

// close stops what is under way and waits for it.
func (p *puller) close() {
	p.cancel()
	for _, r := range p.pulls {
		r.ring.close()
	}
	p.wg.Wait()
}

// leastPart is the smallest part that a range is split into, in blocks.
const leastPart = rangeBuffer / verity.BlockSize

// split cuts long ranges into parts of equal length, so that several
// connections share them, as far as no more than limit come out.
func split(ranges []delta.Range, limit int) []delta.Range {
	if len(ranges) == 0 {
		return nil
	}
	parts := func(size int64) (n int64) {
		for _, r := range ranges {
			n += (r.Blocks()-1)/size + 1
		}
		return n
	}
	low, high := int64(leastPart), max(leastPart, ranges[len(ranges)-1].End) // high is enough
	for low < high {
		if mid := (low + high) / 2; parts(mid) <= int64(limit) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	var out []delta.Range
	for _, r := range ranges {
		n := (r.Blocks()-1)/low + 1
		for i := range n {
			out = append(out, delta.Range{First: r.First + r.Blocks()*i/n, End: r.First + r.Blocks()*(i+1)/n})
		}
	}
	return out
}
