package blockdevtest

import (
	"bytes"
	"errors"
	"sync"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// A PageCache is a Device over a medium as Linux shows it to programs: a write
// is in memory until a Sync, and what memory has is not read from the medium.
// When a Sync fails, it says so once; then what was to be written counts as
// clean, is lost when memory is, and no later Sync brings it to the medium.
// Errors of the medium's writes thus come to light at a Sync, or never.
type PageCache struct {
	medium blockdev.Device

	mu    sync.Mutex
	pages *Image
	dirty []op
}

// NewPageCache returns an empty one. As long as it is used nothing else may
// change the medium.
func NewPageCache(medium blockdev.Device) *PageCache {
	return &PageCache{medium: medium, pages: NewImage(medium)}
}

// Size implements blockdev.Device.
func (c *PageCache) Size() int64 { return c.medium.Size() }

// ReadAt implements io.ReaderAt.
func (c *PageCache) ReadAt(p []byte, off int64) (int, error) { return c.pages.ReadAt(p, off) }

// WriteAt implements io.WriterAt.
func (c *PageCache) WriteAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.pages.WriteAt(p, off)
	if n > 0 {
		c.dirty = append(c.dirty, op{off, int64(n), bytes.Clone(p[:n])})
	}
	return n, err
}

// Sync implements blockdev.Device.
func (c *PageCache) Sync() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, o := range c.dirty {
		if _, err := c.medium.WriteAt(o.data, o.off); err != nil {
			errs = append(errs, err)
		}
	}
	c.dirty = nil
	return errors.Join(append(errs, c.medium.Sync())...)
}

// Lose makes all that is dirty count as clean, as a Sync does that fails as a
// whole.
func (c *PageCache) Lose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirty = nil
}

// Invalidate implements blockdev.Invalidator: clean pages of the range are
// forgotten.
func (c *PageCache) Invalidate(off, n int64) error {
	if err := blockdev.CheckBounds(off, n, c.Size()); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	keep := make(map[int64]bool)
	for _, o := range c.dirty {
		for page := o.off / pageSize; page <= (o.off+o.n-1)/pageSize; page++ {
			keep[page] = true
		}
	}
	c.pages.mu.Lock()
	defer c.pages.mu.Unlock()
	for page := range c.pages.pages {
		if page*pageSize < off+n && (page+1)*pageSize > off && !keep[page] {
			delete(c.pages.pages, page)
		}
	}
	return nil
}
