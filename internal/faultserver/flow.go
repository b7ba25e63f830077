package faultserver

import (
	"errors"
	"io"
	"sync"
)

// Drop closes the connection without an answer.
func Drop() Fault { return func(_ *Request, a *Answer) { a.Status = 0 } }

// Cut breaks the connection after n bytes of each body that is longer.
func Cut(n int64) Fault {
	return func(_ *Request, a *Answer) {
		a.Body = &gate{r: a.Body, left: n, open: func() error { return errCut }}
	}
}

var errCut = errors.New("cut")

// Silence says nothing, not even a header, until the client gives up or the
// server is released.
func Silence() Fault {
	return func(r *Request, a *Answer) { a.before = append(a.before, r.wait) }
}

// Stall sends n bytes of a body and then nothing more, likewise.
func Stall(n int64) Fault {
	return func(r *Request, a *Answer) {
		a.Body = &gate{r: a.Body, left: n, open: func() error { r.wait(); return nil }}
	}
}

func (r *Request) wait() {
	select {
	case <-r.server.release:
	case <-r.Context().Done():
	}
}

// Hook calls f, once, when the content's byte at off is about to be sent: what
// comes before it is on its way.
func Hook(off int64, f func()) Fault {
	var once sync.Once
	return func(_ *Request, a *Answer) {
		if off < a.Off || a.Length >= 0 && off >= a.Off+a.Length {
			return
		}
		a.Body = &gate{r: a.Body, left: off - a.Off, open: func() error { once.Do(f); return nil }}
	}
}

// HookSent calls f, once, when n bytes of bodies went through it and one more
// is about to be sent. f is called while the server waits.
func HookSent(n int64, f func()) Fault {
	m := &meter{limit: n, full: sync.OnceFunc(f)}
	return func(_ *Request, a *Answer) { a.Body = &metered{a.Body, m} }
}

// HookRequest calls f, once, before anything is said.
func HookRequest(f func()) Fault {
	var once sync.Once
	return func(_ *Request, a *Answer) { a.before = append(a.before, func() { once.Do(f) }) }
}

// A gate lets some bytes through and calls open before the next one.
type gate struct {
	r    io.Reader
	left int64
	open func() error // nil from then on
}

func (g *gate) Read(p []byte) (int, error) {
	if g.open == nil {
		return g.r.Read(p)
	}
	if g.left > 0 {
		n, err := g.r.Read(p[:min(int64(len(p)), g.left)])
		g.left -= int64(n)
		return n, err
	}
	// Is there a next one?
	n, err := io.ReadFull(g.r, p[:1])
	if n == 0 {
		return 0, err
	}
	err = g.open()
	g.open = nil
	if err != nil {
		return 0, err
	}
	return n, nil
}

// A meter counts the bytes of several bodies.
type meter struct {
	mu    sync.Mutex
	sent  int64
	limit int64
	full  func()
	over  bool // full has returned: nothing is counted any more
}

// take reserves up to n bytes below the limit; 0 says that it is reached.
func (m *meter) take(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return n
	}
	n = int(min(int64(n), m.limit-m.sent))
	m.sent += int64(n)
	return n
}

type metered struct {
	r io.Reader
	*meter
}

func (m *metered) Read(p []byte) (int, error) {
	want := m.take(len(p))
	if want == 0 {
		n, err := io.ReadFull(m.r, p[:1])
		if n > 0 {
			m.full()
			m.mu.Lock()
			m.over = true
			m.mu.Unlock()
		}
		return n, err
	}
	n, err := m.r.Read(p[:want])
	m.mu.Lock()
	m.sent -= int64(want - n)
	m.mu.Unlock()
	return n, err
}

// An Outage is a server that goes away in the middle of a transfer.
type Outage struct {
	mu   sync.Mutex
	down bool
	gone chan struct{}
	m    *meter
}

// NewOutage returns one that begins when n bytes of bodies of the roles were
// sent: every connection breaks then, and nothing is answered until Return.
func NewOutage(n int64) *Outage {
	o := &Outage{gone: make(chan struct{})}
	o.m = &meter{limit: n, full: sync.OnceFunc(func() {
		o.mu.Lock()
		o.down = true
		o.mu.Unlock()
		close(o.gone)
	})}
	return o
}

// Gone is closed when the outage has begun.
func (o *Outage) Gone() <-chan struct{} { return o.gone }

// Return ends the outage for good.
func (o *Outage) Return() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = false
}

func (o *Outage) isDown() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.down
}

// Fault counts bodies of the given roles, and is the outage to all requests.
func (o *Outage) Fault(roles ...Role) Fault {
	count := On(func(_ *Request, a *Answer) { a.Body = &metered{a.Body, o.m} }, roles...)
	return func(r *Request, a *Answer) {
		if o.isDown() {
			Drop()(r, a)
			return
		}
		count(r, a)
		a.Body = &broken{a.Body, o}
	}
}

// A broken body ends where the outage begins.
type broken struct {
	r io.Reader
	o *Outage
}

func (b *broken) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.o.isDown() {
		return 0, errCut
	}
	return n, err
}
