package wire

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
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
// (see WithTries) goes on with the next endpoint; one whose content was wrong
// with another than that, and so does every later one (see Tries.Distrust).
func Chain(endpoints ...Endpoint) http.RoundTripper {
	if len(endpoints) == 1 && endpoints[0].Rewrite == nil {
		return endpoints[0].Transport
	}
	return &chain{all: endpoints, lied: make([]bool, len(endpoints))}
}

type chain struct {
	all  []Endpoint
	mu   sync.Mutex
	lied []bool // what they gave was wrong
}

func (c *chain) RoundTrip(req *http.Request) (*http.Response, error) {
	last := len(c.all) - 1
	tries := triesOf(req.Context())
	for _, i := range c.order(req, tries) {
		r := c.all[i].request(req)
		if r == nil && i < last {
			continue
		}
		if r == nil {
			r = req
		}
		resp, err := c.all[i].Transport.RoundTrip(r)
		if tries != nil {
			tries.from = answered{c, i, r.URL.Host}
		}
		if i == last || err == nil && usable(req, resp) {
			return resp, err
		}
		if err == nil {
			drop(resp)
		}
		if ctx := req.Context(); ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	panic("wire: nobody was asked") // the original is always among them
}

// order says whom to ask for something, one after the other, the original
// last. It is asked also when it lied, if nobody else has it.
func (c *chain) order(req *http.Request, tries *Tries) (order []int) {
	last := len(c.all) - 1
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return []int{last}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	first := 0
	if tries != nil && !c.lied[last] {
		first = tries.failures % len(c.all)
	}
	for i := first; i < last; i++ {
		if !c.lied[i] {
			order = append(order, i)
		}
	}
	return append(order, last)
}

// distrust asks an endpoint nothing any more. It says whether it was asked
// until now, and how many are left.
func (c *chain) distrust(i int) (news bool, left int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	news, c.lied[i] = !c.lied[i], true
	for _, lied := range c.lied {
		if !lied {
			left++
		}
	}
	return news, left
}

// answered says which endpoint an answer came from.
type answered struct {
	*chain
	i    int
	host string
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
