package transfer

import (
	"context"
	"errors"
	"io"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/delta"
	"github.com/abupdate/abupdate/verity"
)

// pull gets ready to fetch ranges.
func (r *run) pull(ctx context.Context, ranges []delta.Range) {
	if r.whole {
		r.pullWhole(ctx)
		return
	}
	ranges = split(ranges, r.opt.MaxRanges)
	r.puller = newPuller(ctx, ranges, r.opt.InFlight, &r.fetched, func(ctx context.Context, b delta.Range) (io.ReadCloser, error) {
		r.ranges.Add(1)
		return r.remote.Open(ctx, b.First*verity.BlockSize, b.Blocks()*verity.BlockSize)
	})
}

// pullWhole gets ready to read the remote from its start.
func (r *run) pullWhole(ctx context.Context) {
	all := []delta.Range{{End: r.tree.DataBlocks}}
	r.puller = newPuller(ctx, all, 1, &r.fetched, func(ctx context.Context, _ delta.Range) (io.ReadCloser, error) {
		r.ranges.Add(1)
		return r.opt.Whole(ctx)
	})
}

// fetch fills buf with blocks of the remote. If it turns out that there are no
// ranges, the remote is read from its start; what was written by then stays.
func (r *run) fetch(ctx context.Context, buf []byte, first int64) error {
	err := r.puller.read(buf, first)
	if err == nil || r.opt.NoRanges == nil || !errors.Is(err, r.opt.NoRanges) || r.whole {
		return err
	}
	if r.opt.Whole == nil {
		return fault.Errorf(fault.Network, "%w: only all of the image could be had (--no-full forbids it)", err)
	}
	r.opt.Say("the server gives no ranges: the whole image is fetched")
	r.puller.close()
	r.whole = true
	r.mu.Lock()
	r.toFetch = r.fetched.Load() + r.remote.Size()
	r.mu.Unlock()
	r.pullWhole(ctx)
	return r.puller.read(buf, first)
}

// readNear fills buf with blocks of a remote that is at hand.
func (r *run) readNear(ctx context.Context, buf []byte, first int64) error {
	off := first * verity.BlockSize
	rc, err := r.remote.Open(ctx, off, int64(len(buf)))
	if err != nil {
		return err
	}
	n, err := io.ReadFull(rc, buf)
	r.fetched.Add(int64(n))
	if cerr := rc.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return readError(off+int64(n), err)
	}
	return nil
}
