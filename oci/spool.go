package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/abupdate/abupdate/internal/fault"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// A spool holds a registry's layers on disk between the two passes. A layer
// that is there has the right digest, and its file no longer has a name:
// whatever ends this process, the room is given back.
type spool struct {
	dir    string
	items  map[v1.Hash]*spoolItem
	cancel context.CancelFunc
	wait   sync.WaitGroup
}

type spoolItem struct {
	desc v1.Descriptor
	done chan struct{}
	f    *os.File // after done, unless err
	err  error
}

func newSpool(opt Options, layers []v1.Descriptor) (*spool, error) {
	s := &spool{items: map[v1.Hash]*spoolItem{}}
	var need uint64
	for _, d := range layers {
		if s.items[d.Digest] == nil {
			s.items[d.Digest] = &spoolItem{desc: d, done: make(chan struct{})}
			need += uint64(d.Size)
		}
	}
	parent := opt.SpoolDir
	if parent == "" {
		parent = os.TempDir()
	}
	if err := checkRoom(parent, need); err != nil {
		return nil, err
	}
	var err error
	if s.dir, err = os.MkdirTemp(parent, "abupdate-spool-*"); err != nil {
		return nil, spoolError(err)
	}
	return s, nil
}

// checkRoom says that layers will not fit before the first byte is fetched.
func checkRoom(dir string, need uint64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("spooling layers in %s: %w", dir, err)
	}
	if free := st.Bavail * uint64(st.Bsize); free < need {
		return fault.Errorf(fault.NoRoom, "spooling layers in %s: they need %d bytes, %d are free", dir, need, free)
	}
	return nil
}

// spoolError tells a full disk from other trouble.
func spoolError(err error) error { return spoolKind(fmt.Errorf("spooling: %w", err)) }

func spoolKind(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fault.Wrap(fault.NoRoom, err)
	}
	return err
}

// start downloads the layers, the lowest first, a few at a time.
func (s *spool) start(ctx context.Context, client *http.Client, url func(v1.Hash) string, opt Options, layers []v1.Descriptor) {
	ctx, s.cancel = context.WithCancel(ctx)
	meter := newMeter(opt, "download", layers)
	parallel := opt.Parallel
	if parallel <= 0 {
		parallel = 3
	}
	queue := make(chan *spoolItem, len(layers))
	queued := map[v1.Hash]bool{}
	for _, d := range layers {
		if !queued[d.Digest] {
			queued[d.Digest] = true
			queue <- s.items[d.Digest]
		}
	}
	close(queue)
	for range min(parallel, len(queued)) {
		s.wait.Go(func() {
			for item := range queue {
				item.f, item.err = s.fetch(ctx, client, url(item.desc.Digest), item.desc, meter)
				close(item.done)
				if item.err != nil {
					s.cancel() // one missing layer makes the others useless
				}
			}
		})
	}
}

// open waits for a layer and opens it. ok is false for what was not spooled.
func (s *spool) open(ctx context.Context, desc v1.Descriptor) (rc io.ReadCloser, ok bool, err error) {
	item := s.items[desc.Digest]
	if item == nil {
		return nil, false, nil
	}
	select {
	case <-item.done:
	case <-ctx.Done():
		return nil, true, context.Cause(ctx)
	}
	if item.err != nil {
		return nil, true, s.firstError(item.err)
	}
	return io.NopCloser(io.NewSectionReader(item.f, 0, desc.Size)), true, nil
}

// firstError prefers the failure that stopped the other downloads to the
// cancellation that it caused.
func (s *spool) firstError(err error) error {
	if !errors.Is(err, context.Canceled) {
		return err
	}
	for _, item := range s.items {
		select {
		case <-item.done:
			if item.err != nil && !errors.Is(item.err, context.Canceled) {
				return item.err
			}
		default:
		}
	}
	return err
}

// Close ends downloads and gives the room back.
func (s *spool) Close() error {
	if s.cancel != nil {
		s.cancel()
	}
	s.wait.Wait()
	var errs []error
	for _, item := range s.items {
		if item.f != nil {
			errs = append(errs, item.f.Close())
			item.f = nil
		}
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}
