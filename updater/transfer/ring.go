package transfer

import (
	"io"
	"sync"
)

// A ring carries bytes from a goroutine that fetches them to one that uses
// them. When it is full the first waits, and with it the line.
type ring struct {
	mu     sync.Mutex
	change sync.Cond
	buf    []byte
	at, n  int   // what is in it: n bytes from at on
	err    error // of the writing side, once it has ended
	closed bool  // nobody reads any more
}

func newRing(size int) *ring {
	r := &ring{buf: make([]byte, size)}
	r.change.L = &r.mu
	return r
}

// reset makes a ring whose two sides have ended ready to be used again.
func (r *ring) reset() { r.at, r.n, r.err, r.closed = 0, 0, nil, false }

// fill puts what in has into the ring until it ends or fails, and returns how;
// nil when nobody reads any more.
func (r *ring) fill(in io.Reader, count func(n int)) error {
	for {
		room := r.room()
		if room == nil {
			return nil
		}
		n, err := in.Read(room)
		count(n)
		r.mu.Lock()
		r.n += n
		r.change.Signal()
		r.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// room waits for room and returns it; nil when nobody reads any more.
func (r *ring) room() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.n == len(r.buf) && !r.closed {
		r.change.Wait()
	}
	if r.closed {
		return nil
	}
	if r.n == 0 {
		r.at = 0
	}
	start := (r.at + r.n) % len(r.buf)
	return r.buf[start:min(len(r.buf), start+len(r.buf)-r.n)]
}

// end tells the reader that no more comes, and why. The writing side does not
// touch the ring afterwards.
func (r *ring) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	r.change.Signal()
}

// Read implements io.Reader.
func (r *ring) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.n == 0 && r.err == nil {
		r.change.Wait()
	}
	if r.n == 0 {
		return 0, r.err
	}
	n := copy(p, r.buf[r.at:min(len(r.buf), r.at+r.n)])
	r.at, r.n = (r.at+n)%len(r.buf), r.n-n
	r.change.Signal()
	return n, nil
}

// close tells the writer that nobody reads any more.
func (r *ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.change.Signal()
}
