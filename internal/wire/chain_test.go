package wire_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/wire"
	"github.com/google/go-cmp/cmp"
)

// at rewrites addresses to another host; those below /private are not there.
func at(host string) func(*url.URL) *url.URL {
	return func(u *url.URL) *url.URL {
		if strings.HasPrefix(u.Path, "/private") {
			return nil
		}
		c := *u
		c.Host = host
		return &c
	}
}

// wrongRange stands for 206 with bytes that nobody asked for.
const wrongRange = -1

func TestChain(t *testing.T) {
	for _, tt := range []struct {
		name, method, path, ranged string
		answers                    map[string]int // by host; 0 is a broken connection
		failures                   int            // before
		want                       []string       // asked
		status                     int            // 0 for an error
	}{
		{"first has it", "GET", "/x", "", map[string]int{"m1": 200}, 0, []string{"m1"}, 200},
		{"first lacks it", "GET", "/x", "", map[string]int{"m1": 404, "m2": 200}, 0, []string{"m1", "m2"}, 200},
		{"first wants credentials", "HEAD", "/x", "", map[string]int{"m1": 401, "m2": 200}, 0, []string{"m1", "m2"}, 200},
		{"both broken", "GET", "/x", "", map[string]int{"h": 200}, 0, []string{"m1", "m2", "h"}, 200},
		{"nobody has it", "GET", "/x", "", map[string]int{"m1": 503, "m2": 404, "h": 404}, 0, []string{"m1", "m2", "h"}, 404},
		{"all broken", "GET", "/x", "", nil, 0, []string{"m1", "m2", "h"}, 0},
		{"no ranges at the first", "GET", "/x", "bytes=0-1", map[string]int{"m1": 200, "m2": 206}, 0, []string{"m1", "m2"}, 206},
		{"no ranges anywhere", "GET", "/x", "bytes=0-1", map[string]int{"m1": 200, "m2": 416, "h": 200}, 0, []string{"m1", "m2", "h"}, 200},
		{"another range", "GET", "/x", "bytes=0-1", map[string]int{"m1": wrongRange, "m2": 206}, 0, []string{"m1", "m2"}, 206},
		{"what writes", "PUT", "/x", "", map[string]int{"m1": 200, "h": 201}, 0, []string{"h"}, 201},
		{"what mirrors do not have", "GET", "/private/x", "", map[string]int{"m1": 200, "h": 200}, 0, []string{"h"}, 200},
		{"broken before", "GET", "/x", "", map[string]int{"m1": 200, "m2": 200}, 1, []string{"m2"}, 200},
		{"broken twice", "GET", "/x", "", map[string]int{"m1": 200, "m2": 200, "h": 200}, 2, []string{"h"}, 200},
		{"broken three times", "GET", "/x", "", map[string]int{"m1": 200}, 3, []string{"m1"}, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked []string
			inner := roundTrip(func(req *http.Request) (*http.Response, error) {
				asked = append(asked, req.URL.Host)
				if auth := req.Header.Get("Authorization"); (auth != "") != (req.URL.Host == "h") {
					t.Errorf("%s gets credentials %q", req.URL.Host, auth)
				}
				if tt.answers[req.URL.Host] == 0 {
					return nil, errBroken
				}
				code, content := tt.answers[req.URL.Host], "Content-Range: bytes 0-1/2"
				if code == wrongRange {
					code, content = 206, "Content-Range: bytes 1-2/3"
				}
				return answer(req, code, "", content), nil
			})
			clk := newClock()
			c := wire.New(clk.use(wire.Options{}))
			chain := wire.Chain(wire.Endpoint{Rewrite: at("m1"), Transport: inner}, wire.Endpoint{Rewrite: at("m2"), Transport: inner}, wire.Endpoint{Transport: inner})
			tries := c.Tries()
			for range tt.failures {
				tries.Again(t.Context(), errBroken)
			}
			req, err := http.NewRequestWithContext(wire.WithTries(t.Context(), tries), tt.method, "https://h"+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "secret")
			if tt.ranged != "" {
				req.Header.Set("Range", tt.ranged)
			}
			resp, err := chain.RoundTrip(req)
			if tt.status == 0 && !errors.Is(err, errBroken) || tt.status != 0 && (err != nil || resp.StatusCode != tt.status) {
				t.Errorf("answer %v, %v; want %d", resp, err, tt.status)
			}
			if diff := cmp.Diff(tt.want, asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

// TestChainEnds asks nobody else when the context is done.
func TestChainEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	inner := roundTrip(func(*http.Request) (*http.Response, error) {
		asked++
		cancel()
		return nil, ctx.Err()
	})
	chain := wire.Chain(wire.Endpoint{Rewrite: at("m1"), Transport: inner}, wire.Endpoint{Rewrite: at("m2"), Transport: inner}, wire.Endpoint{Transport: inner})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://h/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chain.RoundTrip(req); !errors.Is(err, context.Canceled) || asked != 1 {
		t.Errorf("error %v after %d requests; want one", err, asked)
	}
}

// TestDistrust asks those who gave something wrong no more, in this transfer or
// another, as long as there is somebody else.
func TestDistrust(t *testing.T) {
	all := map[string]int{"m1": 200, "m2": 200, "h": 200}
	for _, tt := range []struct {
		name     string
		answers  map[string]int
		failures int      // of the transfer before
		want     []string // gave something wrong, one after the other
		next     string   // gives something to another transfer
	}{
		{"all have it", all, 0, []string{"m1", "m2", "h"}, "h"},
		{"one lacks it", map[string]int{"m1": 200, "m2": 404, "h": 200}, 0, []string{"m1", "h", "h"}, "h"},
		{"the original first", all, 2, []string{"h", "m1", "m2"}, "h"},
		{"the original alone", map[string]int{"h": 200}, 0, []string{"h", "h"}, "h"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			last := ""
			inner := roundTrip(func(req *http.Request) (*http.Response, error) {
				if tt.answers[req.URL.Host] == 0 {
					return nil, errBroken
				}
				last = req.URL.Host
				return answer(req, tt.answers[last], ""), nil
			})
			clk := newClock()
			c := wire.New(clk.use(wire.Options{}))
			chain := wire.Chain(wire.Endpoint{Rewrite: at("m1"), Transport: inner}, wire.Endpoint{Rewrite: at("m2"), Transport: inner}, wire.Endpoint{Transport: inner})
			var told []string
			ctx := wire.WithNotice(t.Context(), func(err error, wait time.Duration) {
				if told = append(told, err.Error()); wait != 0 {
					t.Errorf("%v, and a wait of %v", err, wait)
				}
			})
			ask := func(tries *wire.Tries) string {
				req, err := http.NewRequestWithContext(wire.WithTries(ctx, tries), http.MethodGet, "https://h/x", nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := chain.RoundTrip(req)
				if err != nil || resp.StatusCode != 200 {
					t.Fatalf("answer %v, %v", resp, err)
				}
				return last
			}
			tries := c.Tries()
			for range tt.failures {
				tries.Again(ctx, errBroken)
			}
			got := []string{ask(tries)}
			for tries.Distrust(ctx, errBroken) {
				got = append(got, ask(tries))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("gave something (-want +got):\n%s", diff)
			}
			if next := ask(c.Tries()); next != tt.next {
				t.Errorf("%s gives it to another transfer; want %s", next, tt.next)
			}
			for _, host := range tt.want[:len(tt.want)-1] {
				if want := host + " gives wrong bytes, and is not asked any more: " + errBroken.Error(); !slices.Contains(told, want) {
					t.Errorf("told of %q; want %q", told, want)
				}
			}
		})
	}
}

// TestDistrustNobody has one place only.
func TestDistrustNobody(t *testing.T) {
	clk := newClock()
	if tries := wire.New(clk.use(wire.Options{})).Tries(); tries.Distrust(t.Context(), errBroken) {
		t.Error("Distrust() = true before anything came")
	}
}
