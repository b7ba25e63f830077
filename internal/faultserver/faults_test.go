package faultserver_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	fs "github.com/abupdate/abupdate/internal/faultserver"
)

func TestFaults(t *testing.T) {
	const size = 1024
	for _, tt := range []struct {
		name   string
		fault  fs.Fault
		ask    string
		status int
		header string // NAME: VALUE
		body   string // with ... for what follows
		broken bool
	}{
		{name: "status", fault: fs.Status(500), status: 500, body: `{"errors"...`},
		{name: "retry after", fault: fs.RetryAfter(429, "7"), status: 429, header: "Retry-After: 7", body: "{..."},
		{name: "no ranges", fault: fs.NoRanges(), ask: "16-19", status: 200, header: "Accept-Ranges: ", body: "0123456789abcdef0..."},
		{name: "wrong range", fault: fs.WrongRange(17), ask: "16-19", status: 206, header: "Content-Range: bytes 33-36/1024", body: "1234"},
		{name: "wrong range at the end", fault: fs.WrongRange(17), ask: "1020-1023", status: 206, header: "Content-Range: bytes 1003-1006/1024", body: "bcde"},
		{name: "wrong bytes", fault: fs.WrongBytes(17), ask: "16-19", status: 206, header: "Content-Range: bytes 16-19/1024", body: "1234"},
		{name: "wrong bytes of a whole", fault: fs.WrongBytes(17), status: 200, body: "0123..."},
		{name: "flipped byte", fault: fs.Flip(1), status: 200, body: "0023..."},
		{name: "flipped byte in a range", fault: fs.Flip(17), ask: "16-19", status: 206, body: "0023"},
		{name: "flipped byte before a range", fault: fs.Flip(1), ask: "16-19", status: 206, body: "0123"},
		{name: "flipped byte after a range", fault: fs.Flip(40), ask: "16-19", status: 206, body: "0123"},
		{name: "flipped last byte", fault: fs.Flip(-1), ask: "1022-1023", status: 206, body: "eg"},
		{name: "flipped byte after a marker", fault: fs.FlipAfter("89ab"), ask: "10-13", status: 206, body: "abbd"},
		{name: "flipped byte after no marker", fault: fs.FlipAfter("z"), ask: "10-13", status: 206, body: "abcd"},
		{name: "other content", fault: fs.Replace([]byte("other")), status: 200, header: "Content-Length: 5", body: "other"},
		{name: "longer", fault: fs.Resize(6), ask: "1022-1029", status: 206, header: "Content-Range: bytes 1022-1029/1030", body: "ef012345"},
		{name: "shorter", fault: fs.Resize(-6), ask: "1016-1023", status: 206, header: "Content-Range: bytes 1016-1017/1018", body: "89"},
		{name: "shorter, nothing left", fault: fs.Resize(-6), ask: "1020-1023", status: 416, body: "{..."},
		{name: "truncated", fault: fs.Truncate(5), status: 200, header: "Content-Length: ", body: "01234"},
		{name: "cut", fault: fs.Cut(5), status: 200, header: "Content-Length: 1024", body: "01234", broken: true},
		{name: "cut at the end is none", fault: fs.Cut(4), ask: "16-19", status: 206, body: "0123"},
		{name: "dropped", fault: fs.Drop(), broken: true},
		{name: "redirect", fault: fs.Redirect("http://other/x"), status: 307, body: "{..."},
		{name: "for ranges", fault: fs.Ranged(fs.Status(416)), ask: "0-3", status: 416, body: "{..."},
		{name: "for ranges, of the whole", fault: fs.Ranged(fs.Status(416)), status: 200, body: "0123..."},
		{name: "for others", fault: fs.On(fs.Drop(), fs.Tree, fs.Manifest), status: 200, body: "0123..."},
		{name: "for these", fault: fs.On(fs.Drop(), fs.Tree, fs.Data), broken: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, tt.fault)
			var header []string
			if tt.ask != "" {
				header = []string{"Range", "bytes=" + tt.ask}
			}
			r := s.get(t, s.blob(), header...)
			if r.status != tt.status || (r.err != nil) != tt.broken {
				t.Fatalf("GET = %d, %v; want %d, broken: %v", r.status, r.err, tt.status, tt.broken)
			}
			if name, want, ok := strings.Cut(tt.header, ": "); ok && r.header.Get(name) != want {
				t.Errorf("%s is %q; want %q", name, r.header.Get(name), want)
			}
			if begin, more := strings.CutSuffix(tt.body, "..."); more && !strings.HasPrefix(r.body, begin) || !more && r.body != tt.body {
				t.Errorf("body is %q; want %q", r.body, tt.body)
			}
			if more := strings.HasPrefix(tt.body, "0123...") && len(r.body) != size; more {
				t.Errorf("%d bytes; want %d", len(r.body), size)
			}
		})
	}
}

func TestRedirectNamesTheFile(t *testing.T) {
	other := newSite(t)
	s := newSite(t, fs.On(fs.Redirect(other.url+"/cdn"), fs.Data))
	r := s.get(t, s.blob())
	other.url = ""
	if got := other.get(t, r.header.Get("Location")); got.body != s.squashfs {
		t.Errorf("%s holds %d bytes, %v; want the blob", r.header.Get("Location"), len(got.body), got.err)
	}
}

func TestTimesAndAfter(t *testing.T) {
	s := newSite(t, fs.Times(2, fs.Status(503)), fs.After(3, fs.Status(500)))
	var got []int
	for range 5 {
		s.do(t, http.MethodHead, s.blob()) // does not count
		got = append(got, s.get(t, s.blob()).status)
	}
	if want := "[503 503 200 500 500]"; fmt.Sprint(got) != want {
		t.Errorf("answers are %v; want %s", got, want)
	}
	s.Set()
	if r := s.get(t, s.blob()); r.status != 200 {
		t.Errorf("without faults = %d", r.status)
	}
}

// The client of a server that stalls waits until it gives up; here the server
// is released instead.
func TestStallAndSilence(t *testing.T) {
	for name, f := range map[string]fs.Fault{"stall": fs.Stall(5), "silence": fs.Silence()} {
		s := newSite(t, f)
		done := make(chan reply, 1)
		go func() { done <- s.get(t, s.blob()) }()
		want := int64(0)
		if name == "stall" {
			want = 5
		}
		for s.Total().Requests == 0 || s.Total().Bytes < want {
			time.Sleep(time.Millisecond)
		}
		select {
		case r := <-done:
			t.Errorf("%s: %d, %v before the release", name, r.status, r.err)
		default:
		}
		s.Release()
		if r := <-done; r.body != s.squashfs || s.Total().Bytes != int64(len(s.squashfs)) {
			t.Errorf("%s: %d bytes, %v after the release", name, len(r.body), r.err)
		}
	}
}

func TestHooks(t *testing.T) {
	var at, sent, request atomic.Int64
	s := newSite(t)
	s.Set(
		fs.HookRequest(func() { request.Add(1) }),
		fs.Hook(100, func() { at.Store(s.Total().Bytes) }),
		fs.HookSent(1100, func() { sent.Store(s.Total().Bytes) }),
	)
	s.get(t, s.blob(), "Range", "bytes=0-99")
	if at.Load() != 0 || request.Load() != 1 {
		t.Errorf("hooks ran: byte 100 %d, request %d; want none, 1", at.Load(), request.Load())
	}
	s.get(t, s.blob(), "Range", "bytes=50-149")
	s.get(t, s.blob())
	if at.Load() != 150 || sent.Load() != 1100 || request.Load() != 1 {
		t.Errorf("bytes sent at the hooks: %d and %d, %d requests; want 150, 1100, 1", at.Load(), sent.Load(), request.Load())
	}
}

func TestOutage(t *testing.T) {
	o := fs.NewOutage(1500)
	s := newSite(t, o.Fault(fs.Data))
	if r := s.get(t, s.blob()); r.err != nil {
		t.Fatalf("before the outage: %v", r.err)
	}
	select {
	case <-o.Gone():
		t.Fatal("it is gone before its time")
	default:
	}
	if r := s.get(t, s.blob()); !errors.Is(r.err, io.ErrUnexpectedEOF) || len(r.body) != 1500-1024 {
		t.Errorf("across the outage: %d bytes, %v; want %d", len(r.body), r.err, 1500-1024)
	}
	<-o.Gone()
	if r := s.get(t, "/v2/"); r.err == nil {
		t.Errorf("in the outage: %d", r.status)
	}
	o.Return()
	if r := s.get(t, s.blob()); r.err != nil || r.body != s.squashfs {
		t.Errorf("after the outage: %d bytes, %v", len(r.body), r.err)
	}
}
