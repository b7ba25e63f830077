package oci

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

// defaultStall is how long a registry may be silent.
const defaultStall = time.Minute

// defaultTransport gives up on a server that accepts and then says nothing.
// It never limits the time of a whole transfer.
var defaultTransport = func() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = defaultStall
	return t
}()

// guard keeps requests off plain HTTP where nobody allowed it: the library
// itself falls back to it for every private network address.
func guard(reg name.Registry, opt Options) http.RoundTripper {
	inner := opt.Transport
	if inner == nil {
		inner = defaultTransport
	}
	stall := opt.Stall
	if stall <= 0 {
		stall = defaultStall
	}
	return &guardTransport{inner: inner, host: reg.RegistryStr(), insecure: opt.Insecure, stall: stall}
}

type guardTransport struct {
	inner    http.RoundTripper
	host     string
	insecure bool
	stall    time.Duration
}

func (g *guardTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case req.URL.Scheme == "http" && !g.insecure && !isLoopback(req.URL.Host):
		return nil, fmt.Errorf("plain HTTP to %s is not allowed without --insecure", req.URL.Host)
	case req.URL.Scheme == "https" && g.insecure && req.URL.Host == g.host:
		return nil, fmt.Errorf("%s is to be spoken to without TLS", g.host)
	}
	resp, err := g.inner.RoundTrip(req)
	if err == nil {
		resp.Body = watch(resp.Body, g.stall)
	}
	return resp, err
}

// A watchedBody breaks a transfer that has come to stand still: TCP alone
// would wait for ever for a server that is there and sends nothing.
type watchedBody struct {
	io.ReadCloser
	stall time.Duration
	timer *time.Timer
	fired atomic.Bool
}

func watch(body io.ReadCloser, stall time.Duration) io.ReadCloser {
	w := &watchedBody{ReadCloser: body, stall: stall}
	w.timer = time.AfterFunc(stall, func() {
		w.fired.Store(true)
		body.Close()
	})
	w.timer.Stop()
	return w
}

func (w *watchedBody) Read(p []byte) (int, error) {
	w.timer.Reset(w.stall)
	n, err := w.ReadCloser.Read(p)
	w.timer.Stop()
	if err != nil && err != io.EOF && w.fired.Load() {
		err = fmt.Errorf("nothing came for %v", w.stall)
	}
	return n, err
}
