package oci

import "io"

// Buffers that an ahead makes, as far as it needs them: one is being filled,
// one is being read, the others are full and wait.
const (
	aheadBuffers = 4
	aheadBytes   = 256 << 10
)

// An ahead reads from another reader in a goroutine, at most aheadBuffers
// ahead of its own reader.
type ahead struct {
	full    chan chunk
	free    chan []byte
	quit    chan struct{}
	done    chan struct{}
	stopped bool

	cur chunk
	off int
	err error // after cur
	end error // as the goroutine left it, io.EOF not being one
}

type chunk struct {
	buf []byte // as it was made
	n   int
	err error
}

// start begins to read r; release is called when the goroutine ends.
func (a *ahead) start(r io.Reader, release func()) {
	a.full = make(chan chunk, aheadBuffers)
	a.free = make(chan []byte, aheadBuffers)
	a.quit = make(chan struct{})
	a.done = make(chan struct{})
	go func() {
		defer close(a.done)
		defer release()
		a.fill(r)
	}()
}

func (a *ahead) fill(r io.Reader) {
	for made := 0; ; {
		var buf []byte
		select {
		case <-a.quit:
			return
		case buf = <-a.free:
		default:
			if made < aheadBuffers {
				buf, made = make([]byte, aheadBytes), made+1
				break
			}
			select {
			case <-a.quit:
				return
			case buf = <-a.free:
			}
		}
		n, err := readFull(r, buf)
		if err != nil && err != io.EOF {
			a.end = err
		}
		a.full <- chunk{buf, n, err} // has room for every buffer
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
	for a.off == a.cur.n {
		if a.err != nil {
			return 0, a.err
		}
		if a.cur.buf != nil {
			a.free <- a.cur.buf
		}
		a.cur, a.off = <-a.full, 0
		a.err = a.cur.err
	}
	n := copy(p, a.cur.buf[a.off:a.cur.n])
	a.off += n
	return n, nil
}

// stop ends the goroutine and returns the error that it met, if any.
func (a *ahead) stop() error {
	if !a.stopped {
		a.stopped = true
		close(a.quit)
		<-a.done
		a.cur, a.off, a.err = chunk{}, 0, io.ErrClosedPipe
	}
	return a.end
}
