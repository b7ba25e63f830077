package wire

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
)

// maxRedirects is how many a request may go along.
const maxRedirects = 10

// Follow returns a round tripper that goes along redirects. Credentials stay
// with the host that they were given for, and TLS is not given up on the way.
// Errors name hosts but not whole addresses: those may hold signatures.
func (c *Client) Follow(rt http.RoundTripper) http.RoundTripper {
	return &follower{client: &http.Client{Transport: rt, CheckRedirect: c.redirect}, led: map[string]*url.URL{}}
}

// A follower remembers where a range was found, so that the next of the same
// blob takes one round trip and not two; a line may be long.
type follower struct {
	client *http.Client
	mu     sync.Mutex
	led    map[string]*url.URL
}

// maxLed bounds what a follower remembers.
const maxLed = 64

func (f *follower) RoundTrip(req *http.Request) (*http.Response, error) {
	ranged := req.Method == http.MethodGet && req.Header.Get("Range") != ""
	if ranged {
		if resp := f.shortcut(req); resp != nil {
			return resp, nil
		}
	}
	resp, err := f.do(req)
	if err == nil && ranged && resp.StatusCode == http.StatusPartialContent && resp.Request.URL.Host != req.URL.Host {
		f.remember(req.URL, resp.Request.URL)
	}
	return resp, err
}

// shortcut asks where the last range came from. What does not work there any
// more is forgotten.
func (f *follower) shortcut(req *http.Request) *http.Response {
	f.mu.Lock()
	to := f.led[req.URL.String()]
	f.mu.Unlock()
	if to == nil {
		return nil
	}
	r := req.Clone(req.Context())
	r.URL, r.Host = to, ""
	stripCredentials(r.Header)
	resp, err := f.do(r)
	if err == nil && resp.StatusCode == http.StatusPartialContent {
		return resp
	}
	if err == nil {
		drop(resp)
	}
	f.remember(req.URL, nil)
	return nil
}

func (f *follower) remember(from, to *url.URL) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if to == nil || len(f.led) >= maxLed {
		delete(f.led, from.String())
		return
	}
	f.led[from.String()] = to
}

func (f *follower) do(req *http.Request) (*http.Response, error) {
	resp, err := f.client.Do(req)
	var where *url.Error
	if err == nil || !errors.As(err, &where) {
		return resp, err
	}
	if resp != nil {
		resp.Body.Close()
	}
	host := req.URL.Host
	if u, parseErr := url.Parse(where.URL); parseErr == nil && u.Host != host {
		return nil, fmt.Errorf("%s, redirected to %s: %w", host, u.Host, where.Err)
	}
	return nil, fmt.Errorf("%s: %w", host, where.Err)
}

func (c *Client) redirect(req *http.Request, via []*http.Request) error {
	from := via[0].URL
	switch {
	case len(via) > maxRedirects:
		return Permanent(fmt.Errorf("more than %d redirects", maxRedirects))
	case from.Scheme == "https" && req.URL.Scheme != "https":
		return Permanent(fmt.Errorf("a redirect from TLS to plain %s is not followed", req.URL.Scheme))
	}
	if req.URL.Host != from.Host {
		stripCredentials(req.Header)
	}
	return nil
}

func stripCredentials(h http.Header) {
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie", "Www-Authenticate"} {
		h.Del(name)
	}
}
