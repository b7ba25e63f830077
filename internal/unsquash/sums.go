package unsquash

import (
	"cmp"
	"context"
	"crypto/sha256"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Sums returns the SHA-256 of the contents of regular files, which are given
// by their places in Files. The image is read from its start to its end, on all
// processors; progress, unless it is nil, is told the bytes hashed so far.
func (im *Image) Sums(ctx context.Context, files []int, progress func(done int64)) ([][sha256.Size]byte, error) {
	order := make([]int, len(files))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(im.position(files[a]), im.position(files[b])) })
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &summer{im: im, ctx: ctx, files: files, order: order, sums: make([][sha256.Size]byte, len(files)), progress: progress}
	var wait sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(files)) {
		wait.Go(func() {
			if err := s.work(); err != nil {
				cancel(err)
			}
		})
	}
	wait.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return s.sums, nil
}

// position is where a file's content begins, or the block with its end.
func (im *Image) position(i int) int64 {
	d := im.Files[i].data
	if len(d.blocks) == 0 && int64(d.fragment) < int64(len(im.fragments)) {
		return im.fragments[d.fragment].start
	}
	return d.start
}

type summer struct {
	im       *Image
	ctx      context.Context
	files    []int
	order    []int
	sums     [][sha256.Size]byte
	next     atomic.Int64
	mu       sync.Mutex
	done     int64
	progress func(done int64)
}

// atOnce is how many files a worker takes: neighbours share a fragment block.
const atOnce = 64

func (s *summer) work() error {
	r, err := s.im.NewReader()
	if err != nil {
		return err
	}
	h := sha256.New()
	for {
		first := int(s.next.Add(atOnce)) - atOnce
		if first >= len(s.order) {
			return nil
		}
		var bytes int64
		for _, i := range s.order[first:min(first+atOnce, len(s.order))] {
			if err := context.Cause(s.ctx); err != nil {
				return err
			}
			f := &s.im.Files[s.files[i]]
			h.Reset()
			if err := r.Copy(h, f); err != nil {
				return err
			}
			h.Sum(s.sums[i][:0])
			bytes += f.Size
		}
		s.report(bytes)
	}
}

func (s *summer) report(bytes int64) {
	if s.progress == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done += bytes
	s.progress(s.done)
}
