package blockdevtest

import (
	"sync"
	"syscall"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// Faults says which operations of an Injector go wrong. Operations of a kind
// are counted from 1; 0 means never. An error that is nil is EIO.
type Faults struct {
	Write    int // this write fails with WriteErr
	WriteErr error
	Short    int // bytes that the failing write writes all the same

	Sync    int // this sync fails with SyncErr
	SyncErr error

	Read    int // this read fails with ReadErr
	ReadErr error

	Any    int // this operation of whatever kind fails with AnyErr
	AnyErr error

	// Onwards makes every operation of the kind fail from the n-th one on,
	// not only the n-th: a disk that died, or is read-only.
	Onwards bool

	// OnHit, if not nil, is called when a fault comes to pass, before the
	// operation returns.
	OnHit func()

	// OnRead, if not nil, may change what the n-th read got.
	OnRead func(n int, p []byte, off int64)
}

// An Injector is a Device that passes everything to another one, except what
// its Faults say. A test that lets n run from 1 until the fault was not Hit
// covers every operation.
type Injector struct {
	dev    blockdev.Device
	faults Faults

	mu                   sync.Mutex
	writes, syncs, reads int
	all                  int
	hit                  bool
}

// Inject returns dev with faults.
func Inject(dev blockdev.Device, faults Faults) *Injector {
	return &Injector{dev: dev, faults: faults}
}

// Hit says whether a fault came to pass.
func (d *Injector) Hit() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hit
}

// count counts an operation and returns its number and the error, if it is to fail.
func (d *Injector) count(counter *int, nth int, err error) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*counter++
	d.all++
	switch {
	case d.falls(*counter, nth):
	case d.falls(d.all, d.faults.Any):
		err = d.faults.AnyErr
	default:
		return *counter, nil
	}
	d.hit = true
	if d.faults.OnHit != nil {
		d.faults.OnHit()
	}
	if err == nil {
		err = syscall.EIO
	}
	return *counter, err
}

// falls says whether operation i is to fail when the n-th one is.
func (d *Injector) falls(i, n int) bool { return n > 0 && (i == n || d.faults.Onwards && i > n) }

// Size implements blockdev.Device.
func (d *Injector) Size() int64 { return d.dev.Size() }

// ReadAt implements io.ReaderAt.
func (d *Injector) ReadAt(p []byte, off int64) (int, error) {
	i, err := d.count(&d.reads, d.faults.Read, d.faults.ReadErr)
	if err != nil {
		return 0, err
	}
	n, err := d.dev.ReadAt(p, off)
	if d.faults.OnRead != nil {
		d.faults.OnRead(i, p[:n], off)
	}
	return n, err
}

// WriteAt implements io.WriterAt.
func (d *Injector) WriteAt(p []byte, off int64) (int, error) {
	_, err := d.count(&d.writes, d.faults.Write, d.faults.WriteErr)
	if err == nil {
		return d.dev.WriteAt(p, off)
	}
	n, werr := d.dev.WriteAt(p[:min(d.faults.Short, len(p))], off)
	if werr != nil {
		err = werr
	}
	return n, err
}

// Sync implements blockdev.Device.
func (d *Injector) Sync() error {
	if _, err := d.count(&d.syncs, d.faults.Sync, d.faults.SyncErr); err != nil {
		return err
	}
	return d.dev.Sync()
}

// Invalidate implements blockdev.Invalidator.
func (d *Injector) Invalidate(off, n int64) error { return blockdev.Invalidate(d.dev, off, n) }
