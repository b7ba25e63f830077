// Package wire is the way to everything remote: HTTP with patience. What fails
// for a moment is tried again, later and later; what stands still or crawls
// counts as broken; nothing takes more of the line than it may.
//
// A Client makes round trippers, to be put around each other:
//
//	Retry( Chain( Follow( authentication( Once ))))
//
// Once makes one try. Follow goes along redirects and takes care that no
// credentials go to another host. Chain tries mirrors before the original.
// Retry is outermost: with a new try everything begins anew, also a redirect,
// whose target may be good for minutes only.
package wire

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Options says how patient a Client is; the zero value works.
type Options struct {
	// RetryFor is how long something is tried again without getting a byte
	// further; 0 means a few tries within seconds.
	RetryFor time.Duration
	// LowSpeed is how many bytes a second a transfer must make over
	// LowSpeedTime (0 means 30 s) or it counts as broken; 0 means any.
	LowSpeed     int64
	LowSpeedTime time.Duration
	// Stall is how long a server may send nothing in the middle of an answer
	// before the connection counts as broken; 0 means a minute.
	Stall time.Duration
	// Bandwidth is how many bytes a second all transfers may take together, in
	// each direction; 0 means all.
	Bandwidth int64
	// Hosts says what is special about some of them, by HOST or HOST:PORT.
	Hosts map[string]Host

	// Base carries requests instead of Go's transport.
	Base http.RoundTripper
	// Proxy finds the proxy for a request; nil means from the environment.
	Proxy func(*http.Request) (*url.URL, error)
	// Now and Sleep are the clock; nil means the real one.
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
}

// A Host is what is special about one host.
type Host struct {
	CA string // PEM file of certificates to trust besides the system's
	// Mirrors are tried in order before the host: HOST[:PORT][/PATH], also
	// with http:// or https:// before it.
	Mirrors  []string
	Insecure bool // to be spoken to without TLS
}

// Defaults of Options.
const (
	DefaultStall        = time.Minute
	DefaultLowSpeedTime = 30 * time.Second
)

// A Client is safe for use by several goroutines.
type Client struct {
	opt    Options
	base   http.RoundTripper // for hosts without a CA of their own
	down   *bucket           // nil: no limit
	up     *bucket
	mu     sync.Mutex
	own    map[string]*http.Transport // by host with a CA of its own
	broken map[string]error           // hosts whose CA cannot be read
}

// New returns a Client.
func New(opt Options) *Client {
	if opt.Stall <= 0 {
		opt.Stall = DefaultStall
	}
	if opt.LowSpeedTime <= 0 {
		opt.LowSpeedTime = DefaultLowSpeedTime
	}
	if opt.Proxy == nil {
		opt.Proxy = http.ProxyFromEnvironment
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Sleep == nil {
		opt.Sleep = sleep
	}
	c := &Client{opt: opt, base: opt.Base, own: map[string]*http.Transport{}, broken: map[string]error{}}
	if c.base == nil {
		c.base = c.transport()
	}
	if opt.Bandwidth > 0 {
		c.down, c.up = newBucket(c), newBucket(c)
	}
	return c
}

// Host returns what is special about a host, given as HOST or HOST:PORT. One
// with a port goes before one without.
func (c *Client) Host(hostport string) Host {
	h, _ := c.host(hostport)
	return h
}

func (c *Client) host(hostport string) (h Host, key string) {
	if h, ok := c.opt.Hosts[hostport]; ok {
		return h, hostport
	}
	name := (&url.URL{Host: hostport}).Hostname()
	if h, ok := c.opt.Hosts[name]; ok {
		return h, name
	}
	return Host{}, ""
}

// Transport returns the round tripper for requests that need no credentials.
func (c *Client) Transport() http.RoundTripper { return c.Retry(c.Follow(c.Once())) }

// CloseIdleConnections closes what no request uses.
func (c *Client) CloseIdleConnections() {
	if t, ok := c.base.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.own {
		t.CloseIdleConnections()
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
