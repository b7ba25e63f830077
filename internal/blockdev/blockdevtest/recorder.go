// Package blockdevtest tests what is built on blockdev: a conformance suite
// for a Device, a Recorder that gives every image a power cut could leave,
// and an Injector that makes single operations fail.
//
// A crash test in five lines:
//
//	rec := blockdevtest.NewRecorder(base)
//	err := save(rec) // what is tested
//	rec.Mark("saved")
//	for img, cut := range rec.Crashes() {
//		// load from img: the old state, or the new one; the new one if cut.Reached("saved")
//	}
package blockdevtest

import (
	"bytes"
	"sync"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// A Recorder is a Device over a base that it never changes. It logs what is
// written and synced, in the order in which the calls returned.
type Recorder struct {
	mu    sync.Mutex
	base  blockdev.Device
	live  *Image
	ops   []op
	marks []mark
}

// op is a write, or a sync when n is 0.
type op struct {
	off, n int64
	data   []byte // nil for a write of zeros
}

func (o op) isSync() bool { return o.n == 0 }

// apply writes bytes [from, to) of the write to img.
func (o op) apply(img *Image, from, to int64) {
	var data []byte
	if o.data == nil {
		data = make([]byte, to-from)
	} else {
		data = o.data[from:to]
	}
	if _, err := img.WriteAt(data, o.off+from); err != nil {
		panic("blockdevtest: applying a write that was in bounds: " + err.Error())
	}
}

type mark struct {
	name string
	ops  int // that were logged before it
}

// NewRecorder returns a Recorder over base. As long as it is used nothing may
// change base.
func NewRecorder(base blockdev.Device) *Recorder {
	return &Recorder{base: base, live: NewImage(base)}
}

// Mark names the point that the code under test has reached: a promise such
// as "saved". See Cut.Reached.
func (r *Recorder) Mark(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marks = append(r.marks, mark{name, len(r.ops)})
}

// Size implements blockdev.Device.
func (r *Recorder) Size() int64 { return r.base.Size() }

// ReadAt implements io.ReaderAt.
func (r *Recorder) ReadAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live.ReadAt(p, off)
}

// WriteAt implements io.WriterAt.
func (r *Recorder) WriteAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, err := r.live.WriteAt(p, off)
	if n > 0 {
		r.ops = append(r.ops, op{off, int64(n), bytes.Clone(p[:n])})
	}
	return n, err
}

// Zero implements blockdev.Zeroer as one write, without a copy of the zeros.
func (r *Recorder) Zero(off, n int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := blockdev.CheckBounds(off, n, r.Size()); err != nil || n == 0 {
		return err
	}
	o := op{off: off, n: n}
	o.apply(r.live, 0, n)
	r.ops = append(r.ops, o)
	return nil
}

// Sync implements blockdev.Device.
func (r *Recorder) Sync() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, op{})
	return nil
}

// Invalidate implements blockdev.Invalidator. What was written reads as
// written: a Recorder models a power cut, not a lying disk.
func (r *Recorder) Invalidate(off, n int64) error {
	return blockdev.CheckBounds(off, n, r.Size())
}

// Writes and Syncs count what was logged.
func (r *Recorder) Writes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, o := range r.ops {
		if !o.isSync() {
			n++
		}
	}
	return n
}

// Syncs is the number of syncs that were logged.
func (r *Recorder) Syncs() int { return len(r.ops) - r.Writes() }
