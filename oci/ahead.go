package oci

import (
	"io"
	"sync"
)

// Buffers that an ahead holds: one being filled, one being read, the rest
// full and waiting.
const (
	aheadBuffers = 4
	aheadBytes   = 256 << 10
)

var aheadPool = sync.Pool{New: func() any { return new([aheadBytes]byte) }}

// An ahead reads from another reader in a goroutine, at most aheadBuffers
// ahead of its own reader.
type ahead struct {
	full    chan chunk
	quit    chan struct{}
	done    chan struct{}
	stopped bool

	cur chunk
	off int
	err error // after the last chunk
	end error // as the goroutine left it, io.EOF not being one
}

type chunk struct {
	buf *[aheadBytes]byte
	n   int
	err error
}

// start begins to read r; release is called when the goroutine ends.
func (a *ahead) start(r io.Reader, release func()) {
	a.full = make(chan chunk, aheadBuffers-2)
	a.quit = make(chan struct{})
	a.done = make(chan struct{})
	go func() {
		defer close(a.done)
		defer release()
		a.fill(r)
	}()
}

func (a *ahead) fill(r io.Reader) {
	for {
		buf := aheadPool.Get().(*[aheadBytes]byte)
		n, err := readFull(r, buf[:])
		if err != nil && err != io.EOF {
			a.end = err
		}
		select {
		case a.full <- chunk{buf, n, err}:
		case <-a.quit:
			aheadPool.Put(buf)
			return
		}
		if err != nil {
			return
		}
	}
}

// readFull fills p unless an error comes first, and gives the error as it is.
func readFull(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// Read implements io.Reader.
func (a *ahead) Read(p []byte) (int, error) {
	for a.cur.buf == nil || a.off == a.cur.n {
		if a.err != nil {
			return 0, a.err
		}
		a.release()
		a.cur, a.off = <-a.full, 0
		a.err = a.cur.err
	}
	n := copy(p, a.cur.buf[a.off:a.cur.n])
	a.off += n
	return n, nil
}

func (a *ahead) release() {
	if a.cur.buf != nil {
		aheadPool.Put(a.cur.buf)
		a.cur.buf = nil
	}
}

// stop ends the goroutine and returns the error that it met, if any.
func (a *ahead) stop() error {
	if a.stopped {
		return a.end
	}
	a.stopped = true
	close(a.quit)
	<-a.done
	a.release()
	for {
		select {
		case c := <-a.full:
			aheadPool.Put(c.buf)
		default:
			a.err = io.ErrClosedPipe
			return a.end
		}
	}
}
