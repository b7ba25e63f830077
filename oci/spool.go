package oci

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/cavaliergopher/grab/v3"
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

// fetch downloads one blob and goes on where the connection broke, as long as
// each try brings it further.
func (s *spool) fetch(ctx context.Context, client *http.Client, url string, desc v1.Descriptor, m *meter) (*os.File, error) {
	path := filepath.Join(s.dir, desc.Digest.Hex)
	best := int64(-1)
	for stalls := 0; ; {
		resumed, err := s.grab(ctx, client, url, path, desc, m)
		if err == nil {
			return takeFile(path)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		size := fileSize(path)
		if err = classify(err, resumed, desc, size); err == nil || !retriable(err) {
			return nil, err
		}
		if size > best {
			best, stalls = size, 0
		}
		if stalls++; stalls > maxStalls {
			return nil, err
		}
		if err := pause(ctx, stalls); err != nil {
			return nil, err
		}
	}
}

// grab makes one try. What a broken one left in path is gone on from when the
// server can do that.
func (s *spool) grab(ctx context.Context, client *http.Client, url, path string, desc v1.Descriptor, m *meter) (resumed bool, err error) {
	req, err := grab.NewRequest(path, url)
	if err != nil {
		return false, err
	}
	h, err := v1.Hasher(desc.Digest.Algorithm)
	if err != nil {
		return false, err
	}
	want, err := hex.DecodeString(desc.Digest.Hex)
	if err != nil {
		return false, err
	}
	req.Size = desc.Size
	req.IgnoreRemoteTime = true
	req.NoCreateDirectories = true
	req.BufferSize = 128 << 10
	req.SetChecksum(h, want, true)
	count := &blobMeter{m: m}
	req.RateLimiter = count
	gc := &grab.Client{HTTPClient: client, UserAgent: userAgent}
	resp := gc.Do(req.WithContext(ctx))
	if err := resp.Err(); err != nil {
		m.add(-count.n)
		return resp.DidResume, err
	}
	return resp.DidResume, nil
}

// classify turns an error of grab's into one that names the blob.
func classify(err error, resumed bool, desc v1.Descriptor, size int64) error {
	var status grab.StatusCodeError
	wrong := errors.Is(err, grab.ErrBadChecksum) || errors.Is(err, grab.ErrBadLength)
	switch {
	case wrong && resumed:
		return &temporaryError{fault.Errorf(fault.Verify, "blob %v: resuming: %w", desc.Digest, err)}
	case wrong:
		return fault.Errorf(fault.Verify, "blob %v: %w", desc.Digest, err)
	case errors.As(err, &status):
		return classifyStatus(int(status), resumed, desc)
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, os.ErrPermission):
		return spoolError(err)
	}
	return &temporaryError{fault.Errorf(fault.Network, "blob %v: transfer broke at byte %d of %d: %w", desc.Digest, max(size, 0), desc.Size, noEOF(err))}
}

func classifyStatus(code int, resumed bool, desc v1.Descriptor) error {
	if code == http.StatusRequestedRangeNotSatisfiable && resumed {
		return &temporaryError{fault.Errorf(fault.Network, "blob %v: the registry does not resume", desc.Digest)}
	}
	return (&remoteBlob{desc: desc}).statusError(code)
}

func retriable(err error) bool {
	var t *temporaryError
	return errors.As(err, &t)
}

// takeFile opens a finished download and takes its name away.
func takeFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, spoolError(err)
	}
	if err := os.Remove(path); err != nil {
		f.Close()
		return nil, spoolError(err)
	}
	return f, nil
}

func fileSize(path string) int64 {
	fi, err := os.Stat(path)
	if err != nil {
		return -1
	}
	return fi.Size()
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
