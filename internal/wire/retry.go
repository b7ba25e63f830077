package wire

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Retry returns a round tripper that tries again what rt could not do. The
// last answer is returned as it is.
func (c *Client) Retry(rt http.RoundTripper) http.RoundTripper { return &retrier{c, rt} }

type retrier struct {
	c     *Client
	inner http.RoundTripper
}

func (r *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	tries := triesOf(req.Context())
	if tries == nil {
		tries = r.c.Tries()
		req = req.WithContext(WithTries(req.Context(), tries))
	}
	for {
		resp, err := r.inner.RoundTrip(req)
		if err == nil && !Temporary(resp.StatusCode) || err != nil && !temporary(err) {
			return resp, err
		}
		if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
			return resp, err // what was sent is gone
		}
		cause, after := err, time.Duration(0)
		if err == nil {
			cause = fmt.Errorf("%s answers %d %s", req.URL.Host, resp.StatusCode, http.StatusText(resp.StatusCode))
			after = retryAfter(resp.Header)
		}
		if !tries.again(req.Context(), cause, after) {
			return resp, err
		}
		if err == nil {
			drop(resp)
		}
		if req.GetBody != nil {
			req = req.Clone(req.Context())
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// CloseIdleConnections lets http.Client close what is idle.
func (r *retrier) CloseIdleConnections() { r.c.CloseIdleConnections() }

// drop gives up an answer, and keeps the connection if little is left of it.
func drop(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	resp.Body.Close()
}

// maxRedirects is how many a request may go along.
const maxRedirects = 10

// Follow returns a round tripper that goes along redirects. Credentials stay
// with the host that they were given for, and TLS is not given up on the way.
// Errors name hosts but not whole addresses: those may hold signatures.
func (c *Client) Follow(rt http.RoundTripper) http.RoundTripper {
	return &follower{c, &http.Client{Transport: rt, CheckRedirect: c.redirect}}
}

type follower struct {
	c      *Client
	client *http.Client
}

func (f *follower) RoundTrip(req *http.Request) (*http.Response, error) {
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
		for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie", "Www-Authenticate"} {
			req.Header.Del(name)
		}
	}
	return nil
}
