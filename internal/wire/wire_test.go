package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/wire"
	"github.com/google/go-cmp/cmp"
)

// A clock passes no time but what is slept and what tests add.
type clock struct {
	now  time.Time
	naps []time.Duration
}

func newClock() *clock { return &clock{now: time.Unix(0, 0)} }

func (c *clock) Now() time.Time { return c.now }

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.naps = append(c.naps, d)
	c.now = c.now.Add(d)
	return nil
}

func (c *clock) slept() (sum time.Duration) {
	for _, d := range c.naps {
		sum += d
	}
	return sum
}

// use puts the clock into options.
func (c *clock) use(opt wire.Options) wire.Options {
	opt.Now, opt.Sleep = c.Now, c.Sleep
	return opt
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answer makes a response; header is "Name: value" lines.
func answer(req *http.Request, code int, body string, header ...string) *http.Response {
	h := http.Header{}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return &http.Response{StatusCode: code, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: req, ContentLength: int64(len(body))}
}

func get(t *testing.T, rt http.RoundTripper, url string, header ...string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	return rt.RoundTrip(req)
}

// near reports whether pauses are those wanted, give or take a quarter.
func near(got, want []time.Duration) bool {
	return cmp.Equal(want, got, cmp.Comparer(func(w, g time.Duration) bool {
		if w > g {
			w, g = g, w
		}
		return g <= w*5/3
	}))
}

func ms(n ...int) (d []time.Duration) {
	for _, n := range n {
		d = append(d, time.Duration(n)*time.Millisecond)
	}
	return d
}

var errBroken = errors.New("connection reset by peer")

func TestRetry(t *testing.T) {
	date := "Date: Thu, 01 Jan 1970 00:00:00 GMT"
	for _, tt := range []struct {
		name     string
		retryFor time.Duration
		answers  []string // status and header of each try; "" is a broken connection; the last goes on
		want     int      // status in the end, 0 for an error
		pauses   []time.Duration
	}{
		{"right at once", 0, []string{"200"}, 200, nil},
		{"right after two", 0, []string{"", "503", "200"}, 200, ms(200, 400)},
		{"never", 0, []string{""}, 0, ms(200, 400, 800, 1600)},
		{"never, with an answer", 0, []string{"503"}, 503, ms(200, 400, 800, 1600)},
		{"every temporary status", 0, []string{"429", "502", "503", "504", "200"}, 200, ms(200, 400, 800, 1600)},
		{"not found stays", 0, []string{"404"}, 404, nil},
		{"500 stays", 0, []string{"500"}, 500, nil},
		{"401 stays", 0, []string{"401"}, 401, nil},
		{"416 stays", 0, []string{"416"}, 416, nil},
		{"Retry-After in seconds", 0, []string{"503 Retry-After: 7", "200"}, 200, ms(7000)},
		{"Retry-After is cut without RetryFor", 0, []string{"429 Retry-After: 3600", "200"}, 200, ms(30000)},
		{"Retry-After with RetryFor", 2 * time.Hour, []string{"429 Retry-After: 3600", "200"}, 200, ms(3600000)},
		{"Retry-After is cut by RetryFor", time.Minute, []string{"429 Retry-After: 3600"}, 429, ms(60000)},
		{"Retry-After of rubbish", 0, []string{"429 Retry-After: soon", "200"}, 200, ms(200)},
		{"Retry-After below zero", 0, []string{"429 Retry-After: -5", "200"}, 200, ms(200)},
		{"Retry-After is a date", 0, []string{"429 Retry-After: Wed, 21 Oct 2099 07:28:10 GMT|Date: Wed, 21 Oct 2099 07:28:00 GMT", "200"}, 200, ms(10000)},
		{"a date in the past", 0, []string{"429 Retry-After: Wed, 21 Oct 2015 07:28:10 GMT|" + date, "200"}, 200, nil},
		{"a date without the server's", 0, []string{"429 Retry-After: Wed, 21 Oct 2099 07:28:10 GMT", "200"}, 200, ms(200)},
		{"for ten seconds", 10 * time.Second, []string{""}, 0, nil},
		{"for two hours", 2 * time.Hour, []string{"503"}, 503, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clk := newClock()
			tries := 0
			c := wire.New(clk.use(wire.Options{RetryFor: tt.retryFor, Base: roundTrip(func(req *http.Request) (*http.Response, error) {
				a := tt.answers[min(tries, len(tt.answers)-1)]
				tries++
				if a == "" {
					return nil, errBroken
				}
				code := int(a[0]-'0')*100 + int(a[1]-'0')*10 + int(a[2]-'0')
				return answer(req, code, "", strings.Split(strings.TrimSpace(a[3:]), "|")...), nil
			})}))
			resp, err := get(t, c.Transport(), "https://h/x")
			switch {
			case tt.want == 0 && !errors.Is(err, errBroken):
				t.Errorf("error %v; want %v", err, errBroken)
			case tt.want != 0 && (err != nil || resp.StatusCode != tt.want):
				t.Errorf("answer %v, %v; want %d", resp, err, tt.want)
			}
			if tt.pauses != nil && !near(clk.naps, tt.pauses) {
				t.Errorf("pauses %v; want about %v", clk.naps, tt.pauses)
			}
			if tt.pauses == nil && tt.retryFor > 0 && clk.slept() != tt.retryFor {
				t.Errorf("waited %v in all; want %v", clk.slept(), tt.retryFor)
			}
			for _, nap := range clk.naps {
				if tt.pauses == nil && nap > 75*time.Second {
					t.Errorf("a pause of %v", nap)
				}
			}
		})
	}
}

// TestRetryBody sends a body again, if it can be had again.
func TestRetryBody(t *testing.T) {
	for _, again := range []bool{true, false} {
		clk := newClock()
		var got []string
		c := wire.New(clk.use(wire.Options{Base: roundTrip(func(req *http.Request) (*http.Response, error) {
			b, err := io.ReadAll(req.Body)
			got = append(got, string(b))
			if len(got) < 3 {
				return nil, errBroken
			}
			return answer(req, 201, ""), err
		})}))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://h/x", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"body", "body", "body"}
		if !again {
			req.GetBody, want = nil, want[:1]
		}
		if _, err := c.Retry(c.Once()).RoundTrip(req); (err == nil) != again {
			t.Errorf("body that can be had again: %v; error %v", again, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("bodies sent (-want +got):\n%s", diff)
		}
	}
}

func TestRetryEnds(t *testing.T) {
	clk := newClock()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	tries := 0
	c := wire.New(clk.use(wire.Options{RetryFor: time.Hour, Base: roundTrip(func(*http.Request) (*http.Response, error) {
		if tries++; tries == 3 {
			cancel(stop)
		}
		return nil, errBroken
	})}))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://h/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Transport().RoundTrip(req); err == nil || tries != 3 {
		t.Errorf("error %v after %d tries; want one after 3", err, tries)
	}
	tries = 0
	c = wire.New(clk.use(wire.Options{Base: roundTrip(func(*http.Request) (*http.Response, error) {
		tries++
		return nil, wire.Permanent(errBroken)
	})}))
	if _, err := get(t, c.Transport(), "https://h/x"); !errors.Is(err, errBroken) || tries != 1 {
		t.Errorf("error %v after %d tries; want one", err, tries)
	}
}

// TestTries shares one count between a transfer and its requests.
func TestTries(t *testing.T) {
	clk := newClock()
	requests := 0
	c := wire.New(clk.use(wire.Options{Base: roundTrip(func(*http.Request) (*http.Response, error) {
		requests++
		return nil, errBroken
	})}))
	tries := c.Tries()
	for range 3 {
		if !tries.Again(t.Context(), errBroken) {
			t.Fatal("no patience")
		}
	}
	req, err := http.NewRequestWithContext(wire.WithTries(t.Context(), tries), http.MethodGet, "https://h/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Transport().RoundTrip(req); err == nil || requests != 2 {
		t.Errorf("error %v after %d requests; want 2", err, requests)
	}
	tries.Progress()
	if _, err := c.Transport().RoundTrip(req); err == nil || requests != 2+5 {
		t.Errorf("error %v after %d requests; want 5 more", err, requests)
	}
}

// TestNotice tells of longer waits only.
func TestNotice(t *testing.T) {
	clk := newClock()
	tries := 0
	c := wire.New(clk.use(wire.Options{RetryFor: time.Hour, Base: roundTrip(func(req *http.Request) (*http.Response, error) {
		switch tries++; tries {
		case 1:
			return nil, errBroken
		case 2:
			return answer(req, 503, "", "Retry-After: 20"), nil
		}
		return answer(req, 200, ""), nil
	})}))
	var told []string
	ctx := wire.WithNotice(t.Context(), func(cause error, wait time.Duration) {
		told = append(told, fmt.Sprintf("%v, %v", cause, wait))
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://h/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Transport().RoundTrip(req); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"h answers 503 Service Unavailable, 20s"}, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}
