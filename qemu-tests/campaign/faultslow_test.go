package campaign_test

import (
	"context"
	"sync"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// A slowDisk does its n-th operation when it is let.
type slowDisk struct {
	blockdev.Device
	n       int
	reached chan struct{} // is closed when the n-th operation waits
	let     chan struct{} // is to be closed

	mu             sync.Mutex
	begun, working int
	firstWrite     int // the first operation that was a write
}

func slow(dev blockdev.Device, n int) *slowDisk {
	return &slowDisk{Device: dev, n: n, reached: make(chan struct{}), let: make(chan struct{})}
}

// savePrepares is how many operations of a save come before its write.
const savePrepares = 3

// maxMore is how many operations may follow an interruption until it is seen.
const maxMore = 12

// begin waits when it is the n-th's turn, and returns what ends an operation.
func (d *slowDisk) begin() (end func()) {
	d.mu.Lock()
	d.begun++
	d.working++
	mine := d.begun == d.n
	d.mu.Unlock()
	if mine {
		close(d.reached)
		<-d.let
	}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.working--
	}
}

// seen is how many operations were begun, and how many are under way.
func (d *slowDisk) seen() (begun, working int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.begun, d.working
}

func (d *slowDisk) ReadAt(p []byte, off int64) (int, error) {
	defer d.begin()()
	return d.Device.ReadAt(p, off)
}

func (d *slowDisk) WriteAt(p []byte, off int64) (int, error) {
	defer d.begin()()
	d.mu.Lock()
	if d.firstWrite == 0 {
		d.firstWrite = d.begun
	}
	d.mu.Unlock()
	return d.Device.WriteAt(p, off)
}

func (d *slowDisk) Sync() error {
	defer d.begin()()
	return d.Device.Sync()
}

// TestSlowDisk interrupts an apply while its disk takes its time for an
// operation, which no program can cut short. Others read the disk meanwhile.
// When the operation has ended, so does the apply, and leaves nothing running;
// the next one goes through.
func TestSlowDisk(t *testing.T) {
	r := builtRefs(t)
	base := device(t, r)
	old := machine.Start(blockdevtest.NewImage(base))
	before := ut.State(t, base)
	for _, kind := range []struct{ name, ref string }{{"an update", r.update["v2"]}, {"an image", r.image["v2"]}} {
		t.Run(kind.name, func(t *testing.T) {
			opt := updater.ApplyOptions{Ref: kind.ref}
			whole := slow(blockdevtest.NewImage(base), 0)
			if err := try(whole, nil, apply(t, opt)); err != nil {
				t.Fatal(err)
			}
			ends := make(map[string]int)
			for n := 1; ; n++ {
				img := blockdevtest.NewImage(base)
				d := slow(img, n)
				ctx, interrupt := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() {
					done <- try(d, nil, func(s *updater.System) error { _, err := s.Apply(ctx, opt); return err })
				}()
				select {
				case <-d.reached:
				case err := <-done:
					interrupt()
					if err != nil {
						t.Fatalf("without an interruption: %v", err)
					}
					t.Logf("interrupted at each of %d operations: %s", n-1, summary(ends))
					return
				}
				if err := try(img, nil, func(s *updater.System) error { _, err := s.Status(); return err }); err != nil {
					t.Errorf("operation %d waits, and status gives %v", n, err)
				}
				interrupt()
				close(d.let)
				err := <-done
				if state := ut.State(t, img); n < whole.firstWrite-savePrepares && !state.Equal(before) {
					t.Errorf("interrupted at operation %d, before anything was written, and the slot is taken: %+v", n, state)
				}
				ends[afterInterrupt(t, d, img, err, opt, old)]++
			}
		})
	}
}

// afterInterrupt checks what an interrupted apply has left and names its end.
func afterInterrupt(t *testing.T, d *slowDisk, img *blockdevtest.Image, err error, opt updater.ApplyOptions, old machine.Outcome) (end string) {
	t.Helper()
	begun, working := d.seen()
	switch {
	case working != 0:
		t.Errorf("operation %d: %d operations go on when apply has returned", d.n, working)
	case err == nil:
		end = "was done"
	case fault.KindOf(err) == fault.Canceled:
		end = "ended"
	default:
		t.Errorf("operation %d: %v, kind %d; want kind %d", d.n, err, fault.KindOf(err), fault.Canceled)
	}
	if state := ut.State(t, img); err == nil != (state.Active() == bootctl.SlotB) {
		t.Errorf("operation %d: apply returned %v, and slot %v boots next", d.n, err, state.Active())
	}
	if o := machine.Start(blockdevtest.NewImage(img)); o.End != machine.Up || err != nil && o.RootHash != old.RootHash {
		t.Errorf("operation %d: apply returned %v, then %v", d.n, err, o)
	}
	if more := begun - d.n; err != nil && more > maxMore {
		t.Errorf("operation %d: %d more until apply returned %v; want at most %d", d.n, more, err, maxMore)
	}
	if err := try(img, nil, apply(t, opt)); err != nil && fault.KindOf(err) != fault.Nothing {
		t.Errorf("operation %d: the next apply: %v", d.n, err)
	}
	if o := machine.Start(img); o.End != machine.Up || o.Version != "2.0" {
		t.Errorf("operation %d: after the next apply %v", d.n, o)
	}
	if after, _ := d.seen(); after != begun {
		t.Errorf("operation %d: %d operations came when apply had returned", d.n, after-begun)
	}
	return end
}
