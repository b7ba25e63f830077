package wire

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// An Endpoint is one place that answers for an address: a mirror, or the
// original.
type Endpoint struct {
	// Rewrite returns the address at this place, or nil when it has none for
	// it; a nil Rewrite leaves it as it is.
	Rewrite   func(*url.URL) *url.URL
	Transport http.RoundTripper
}

// Chain returns a round tripper that asks one endpoint after the other, for
// what only reads. The last is the original: it gets everything else too, and
// its answer counts when nobody has what is asked for. A transfer that broke
// (see WithTries) goes on with the next endpoint.
func Chain(endpoints ...Endpoint) http.RoundTripper {
	if len(endpoints) == 1 && endpoints[0].Rewrite == nil {
		return endpoints[0].Transport
	}
	return chain(endpoints)
}

type chain []Endpoint

func (c chain) RoundTrip(req *http.Request) (*http.Response, error) {
	last := len(c) - 1
	first := 0
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		first = last
	} else if t := triesOf(req.Context()); t != nil {
		first = t.failures % len(c)
	}
	for _, e := range c[first:last] {
		r := e.request(req)
		if r == nil {
			continue
		}
		resp, err := e.Transport.RoundTrip(r)
		if err == nil && usable(req, resp) {
			return resp, nil
		}
		if err == nil {
			drop(resp)
		}
		if ctx := req.Context(); ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	r := c[last].request(req)
	if r == nil {
		r = req
	}
	return c[last].Transport.RoundTrip(r)
}

func (e *Endpoint) request(req *http.Request) *http.Request {
	if e.Rewrite == nil {
		return req
	}
	u := e.Rewrite(req.URL)
	if u == nil {
		return nil
	}
	r := req.Clone(req.Context())
	r.URL, r.Host = u, ""
	stripCredentials(r.Header)
	return r
}

// usable tells the answers of a mirror that will do.
func usable(req *http.Request, resp *http.Response) bool {
	if want, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes="); ok {
		first, _, _ := strings.Cut(want, "-")
		return resp.StatusCode == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes "+first+"-")
	}
	return resp.StatusCode == http.StatusOK
}
