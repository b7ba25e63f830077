package main

import (
	"context"
	"net"
	"net/http"
	"path"
	"sync"
	"time"
)

// A web serves a folder, as any web server does that knows ranges, and counts
// what it gives.
type web struct {
	address string
	server  *http.Server

	mu     sync.Mutex
	served map[string]traffic // by the name of the file
}

// A traffic is what was fetched of one file.
type traffic struct {
	requests int
	bytes    int64 // of bodies
}

func serve(ctx context.Context, dir string) (*web, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &web{address: l.Addr().String(), served: make(map[string]traffic)}
	files := http.FileServer(http.Dir(dir))
	w.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c := &countingWriter{ResponseWriter: rw}
		files.ServeHTTP(c, r)
		w.count(path.Base(r.URL.Path), c.n)
	})}
	go w.server.Serve(l) //nolint:errcheck // Close ends it
	return w, nil
}

func (w *web) count(name string, n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.served[name]
	t.requests++
	t.bytes += n
	w.served[name] = t
}

// take returns what was served since the last call.
func (w *web) take() map[string]traffic {
	w.mu.Lock()
	defer w.mu.Unlock()
	served := w.served
	w.served = make(map[string]traffic)
	return served
}

func (w *web) close() error { return w.server.Close() }

type countingWriter struct {
	http.ResponseWriter
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n += int64(n)
	return n, err
}
