package wire_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/abupdate/abupdate/internal/wire"
)

// A feed is a body that gives so many bytes at a time, each piece after a
// while of the clock.
type feed struct {
	clk   *clock
	every time.Duration
	piece int
	left  int
}

func (f *feed) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), f.piece, f.left)
	f.left -= n
	f.clk.now = f.clk.now.Add(f.every)
	return n, nil
}

func (f *feed) Close() error { return nil }

func TestLowSpeed(t *testing.T) {
	for _, tt := range []struct {
		name         string
		limit        int64
		every        time.Duration
		piece, total int
		want         string
	}{
		{"fast", 1000, time.Second, 1001, 100_000, ""},
		{"slow", 1000, time.Second, 900, 100_000, "only 900 bytes a second came for 30s; want 1000"},
		{"slow without a limit", 0, time.Hour, 1, 100, ""},
		{"slow, but soon done", 1000, time.Second, 1, 29, ""},
	} {
		clk := newClock()
		c := wire.New(clk.use(wire.Options{LowSpeed: tt.limit, Base: roundTrip(func(req *http.Request) (*http.Response, error) {
			resp := answer(req, 200, "")
			resp.Body = &feed{clk, tt.every, tt.piece, tt.total}
			return resp, nil
		})}))
		resp, err := get(t, c.Once(), "https://h/x")
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if tt.want != "" {
			if err == nil || err.Error() != tt.want || n < int64(29*tt.piece) || n > int64(30*tt.piece) {
				t.Errorf("%s: %d bytes, error %v; want %q after 30 s", tt.name, n, err, tt.want)
			}
		} else if err != nil || n != int64(tt.total) {
			t.Errorf("%s: %d bytes, error %v; want %d", tt.name, n, err, tt.total)
		}
	}
}

// TestStall waits for a server that sends nothing more; the time is made up.
func TestStall(t *testing.T) {
	for _, tt := range []struct {
		opt  wire.Options
		want time.Duration
	}{
		{wire.Options{}, time.Minute},
		{wire.Options{Stall: 5 * time.Second}, 5 * time.Second},
		{wire.Options{LowSpeed: 1}, 30 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, w := io.Pipe()
			tt.opt.Base = roundTrip(func(req *http.Request) (*http.Response, error) {
				resp := answer(req, 200, "")
				resp.Body = r
				return resp, nil
			})
			resp, err := get(t, wire.New(tt.opt).Once(), "https://h/x")
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = w.Write([]byte("some")) }()
			start := time.Now()
			b, err := io.ReadAll(resp.Body)
			if string(b) != "some" || err == nil || !strings.Contains(err.Error(), "nothing came for "+tt.want.String()) {
				t.Errorf("read %q, error %v", b, err)
			}
			if took := time.Since(start); took != tt.want {
				t.Errorf("it took %v; want %v", took, tt.want)
			}
		})
	}
}

// TestBandwidth has two transfers share a line; the time is made up.
func TestBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := strings.Repeat("x", 100_000)
		c := wire.New(wire.Options{Bandwidth: 10_000, Base: roundTrip(func(req *http.Request) (*http.Response, error) {
			if req.Body != nil {
				if n, err := io.Copy(io.Discard, req.Body); n != int64(len(body)) || err != nil {
					return nil, errors.New("body is short")
				}
			}
			return answer(req, 200, body), nil
		})})
		start := time.Now()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				resp, err := get(t, c.Transport(), "https://h/x")
				if err != nil {
					t.Error(err)
					return
				}
				if n, err := io.Copy(io.Discard, resp.Body); n != int64(len(body)) || err != nil {
					t.Errorf("%d bytes, %v", n, err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start).Seconds(); took < 19.5 || took > 20.5 {
			t.Errorf("200 kB down at 10 kB/s took %.1f s; want 20", took)
		}
		start = time.Now()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://h/x", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Transport().RoundTrip(req); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start).Seconds(); took < 9.5 || took > 10.5 {
			t.Errorf("100 kB up at 10 kB/s took %.1f s; want 10", took)
		}
	})
}
