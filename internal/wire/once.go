package wire

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/abupdate/abupdate/internal/fault"
)

// Limits of the time that the steps before a transfer may take. A transfer
// itself has no limit but that it goes on.
const (
	dialTimeout   = 30 * time.Second
	tlsTimeout    = 15 * time.Second
	headerTimeout = time.Minute
	idleTimeout   = 90 * time.Second
	pingTimeout   = 30 * time.Second // of HTTP/2
	idlePerHost   = 8                // as many as are in flight at a time
)

func (c *Client) transport() *http.Transport {
	return &http.Transport{
		Proxy:                 c.opt.Proxy,
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true, // blobs are compressed, and digests are of what was sent
		MaxIdleConnsPerHost:   idlePerHost,
		IdleConnTimeout:       idleTimeout,
		TLSHandshakeTimeout:   tlsTimeout,
		ResponseHeaderTimeout: headerTimeout,
		ExpectContinueTimeout: time.Second,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: streamBuffer, MaxReceiveBufferPerConnection: 4 * streamBuffer,
			// A dead connection would be used for every further try otherwise.
			SendPingTimeout: pingTimeout, PingTimeout: pingTimeout,
		},
	}
}

// streamBuffer bounds what HTTP/2 takes ahead of whoever reads a body, in
// bytes: 4 MiB by default, which is much for a small device. It carries 5 MB/s
// over a line of 100 ms.
const streamBuffer = 512 << 10

// Once returns a round tripper that makes one try: through the proxy, with the
// host's CA, and with a watch on the body.
func (c *Client) Once() http.RoundTripper { return once{c} }

type once struct{ c *Client }

func (o once) RoundTrip(req *http.Request) (*http.Response, error) {
	rt, err := o.c.to(req.URL.Host)
	if err != nil {
		return nil, err
	}
	if o.c.up != nil && req.Body != nil && req.Body != http.NoBody {
		req = req.Clone(req.Context())
		req.Body = &slowed{req.Body, req.Context(), o.c.up}
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, explain(err, o.c.opt.Now())
	}
	resp.Body = o.c.watch(resp.Body)
	if o.c.down != nil {
		resp.Body = &slowed{resp.Body, req.Context(), o.c.down}
	}
	return resp, nil
}

// CloseIdleConnections lets http.Client close what is idle.
func (o once) CloseIdleConnections() { o.c.CloseIdleConnections() }

// to returns the transport for a host.
func (c *Client) to(hostport string) (http.RoundTripper, error) {
	h, key := c.host(hostport)
	if h.CA == "" || c.opt.Base != nil {
		return c.base, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.own[key]; t != nil {
		return t, nil
	}
	if err := c.broken[key]; err != nil {
		return nil, err
	}
	pool, err := readCA(h.CA)
	if err != nil {
		c.broken[key] = Permanent(fault.Errorf(fault.Usage, "reading the CA of %s: %w", key, err))
		return nil, c.broken[key]
	}
	t := c.transport()
	t.TLSClientConfig = &tls.Config{RootCAs: pool}
	c.own[key] = t
	return t, nil
}

// readCA adds the certificates in a PEM file to those that the system trusts.
func readCA(path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil { // a system without any
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(b) {
		return nil, fault.Errorf(fault.Usage, "%s holds no certificate in PEM", path)
	}
	return pool, nil
}
