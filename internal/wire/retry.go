package wire

import (
	"fmt"
	"io"
	"net/http"
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
