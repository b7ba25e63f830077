package oci

import (
	"io"
	"sync"
)

// Buffers of an ahead: one is being filled, one is being hashed, one is being
// read, and one waits.
const (
	aheadBuffers = 4
	aheadBytes   = 128 << 10
)

// aheadPool keeps buffers from one layer to the next.
var aheadPool = sync.Pool{New: func() any { return new([aheadBytes]byte) }}

type aheadBuffer = *[aheadBytes]byte

// An ahead reads from another reader in a goroutine, and passes what it has
// read through a check in a second one, at most aheadBuffers ahead of its own
// reader.
type ahead struct {
	free    chan aheadBuffer
	filled  chan chunk
	checked chan chunk
	quit    chan struct{}
	done    chan struct{}
	stopped bool

	cur chunk
	off int
	err error // after cur
	end error // as the goroutines left it, io.EOF not being one
}

type chunk struct {
	buf aheadBuffer
	n   int
	err error
}

// start begins to read r; check, which may be nil, sees all bytes in order
// before Read gives them. Release is called when nothing reads r any more.
func (a *ahead) start(r io.Reader, release func(), check func([]byte) error) {
	a.free = make(chan aheadBuffer, aheadBuffers)
	a.filled = make(chan chunk, aheadBuffers)
	a.checked = make(chan chunk, aheadBuffers)
	a.quit = make(chan struct{})
	a.done = make(chan struct{})
	for range aheadBuffers {
		a.free <- aheadPool.Get().(aheadBuffer)
	}
	go func() {
		defer close(a.filled)
		defer release()
		a.fill(r)
	}()
	go func() {
		defer close(a.done)
		a.check(check)
	}()
}

func (a *ahead) fill(r io.Reader) {
	for {
		var buf aheadBuffer
		select {
		case <-a.quit:
			return
		case buf = <-a.free:
		}
		n, err := readMost(r, buf[:])
		a.filled <- chunk{buf, n, err} // has room for every buffer
		if err != nil {
			return
		}
	}
}

// check passes chunks on until the first error; what still comes behind one
// has no reader.
func (a *ahead) check(fn func([]byte) error) {
	failed := false
	for c := range a.filled {
		if failed {
			aheadPool.Put(c.buf)
			continue
		}
		if fn != nil {
			if err := fn(c.buf[:c.n]); err != nil {
				c.err = err
			}
		}
		failed = c.err != nil
		if failed && c.err != io.EOF {
			a.end = c.err
		}
		a.checked <- c // has room for every buffer
	}
}

// readMost fills p, nearly, unless an error comes first, and gives the error as
// it is. A decompressor would need a detour for the last bytes.
func readMost(r io.Reader, p []byte) (n int, err error) {
	for n < len(p)-aheadBytes/8 && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// Read implements io.Reader.
func (a *ahead) Read(p []byte) (int, error) {
	for a.off == a.cur.n {
		if a.err != nil {
			return 0, a.err
		}
		if a.cur.buf != nil {
			a.free <- a.cur.buf
		}
		a.cur, a.off = <-a.checked, 0
		a.err = a.cur.err
	}
	n := copy(p, a.cur.buf[a.off:a.cur.n])
	a.off += n
	return n, nil
}

// stop ends the goroutines and returns the error that they met, if any.
func (a *ahead) stop() error {
	if a.stopped {
		return a.end
	}
	a.stopped = true
	close(a.quit)
	<-a.done
	close(a.free)
	close(a.checked)
	for buf := range a.free {
		aheadPool.Put(buf)
	}
	for c := range a.checked {
		aheadPool.Put(c.buf)
	}
	if a.cur.buf != nil {
		aheadPool.Put(a.cur.buf)
	}
	a.cur, a.off, a.err = chunk{}, 0, io.ErrClosedPipe
	return a.end
}
