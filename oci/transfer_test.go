package oci_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
	"github.com/google/go-cmp/cmp"
)

// A transferRow says how the transfer of a blob goes wrong.
type transferRow struct {
	name string
	// cut ends a response after n bytes, flip changes one, on try t of the
	// blob. ranges lets the server answer closed and open ranges.
	cut, flip func(try int32) bool
	ranges    bool
	want      string
	kind      fault.Kind
	tries     int32
}

func always(int32) bool   { return true }
func first(n int32) bool  { return n == 1 }
func second(n int32) bool { return n <= 2 }

// spoil stands in front of a blob and counts how often it is asked for, from
// the given try on.
func (s *server) spoil(tt transferRow, blob string, tries *atomic.Int32) {
	s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/sha256:"+blob) {
			if tt.ranges && r.Method == http.MethodHead {
				w.Header().Set("Accept-Ranges", "bytes")
			}
			inner.ServeHTTP(w, r)
			return
		}
		try := tries.Add(1)
		rec := httptest.NewRecorder()
		whole := r.Clone(r.Context())
		whole.Header.Del("Range")
		inner.ServeHTTP(rec, whole)
		body := rec.Body.Bytes()
		if tt.flip != nil && tt.flip(try) {
			body[len(body)/4] ^= 1
		}
		if tt.cut != nil && try > 0 && tt.cut(try) {
			w = &cutter{w, int64(len(body) / 3)}
		}
		if !tt.ranges {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			_, _ = w.Write(body)
			return
		}
		http.ServeContent(w, r, "", started, strings.NewReader(string(body)))
	}
}

// TestRegistryTransfer breaks the transfer of the lower layer's blob while it
// streams.
func TestRegistryTransfer(t *testing.T) {
	for _, tt := range []transferRow{
		{name: "untouched", tries: 1},
		{name: "broken once, from the start again", cut: first, tries: 2},
		{name: "broken twice, resumed", cut: second, ranges: true, tries: 3},
		{name: "always broken", cut: always, want: "transfer broke", kind: fault.Network, tries: 5},
		{name: "always broken, resumed", cut: func(n int32) bool { return n != 3 }, ranges: true, tries: 3},
		{name: "flipped byte", flip: always, want: "its content has digest", kind: fault.Verify, tries: 1},
		{name: "flipped byte before a break", cut: first, flip: first, ranges: true, want: "its content has digest", kind: fault.Verify, tries: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			var tries atomic.Int32
			s.spoil(tt, s.layer, &tries)
			got, err := s.read(t, s.host+"/demo:v1", oci.Options{})
			if n := tries.Load(); n != tt.tries {
				t.Errorf("blob was asked for %d times; want %d", n, tt.tries)
			}
			if tt.want != "" {
				wantError(t, err, tt.want, tt.kind)
				wantError(t, err, s.layer[:12], tt.kind)
				return
			}
			if diff := cmp.Diff([]string{"f a new"}, got); err != nil || diff != "" {
				t.Errorf("error %v, flattened (-want +got):\n%s", err, diff)
			}
		})
	}
}

// TestRegistrySecondRead breaks the transfer of a blob into the spool; the
// first read has streamed it.
func TestRegistrySecondRead(t *testing.T) {
	for _, tt := range []transferRow{
		{name: "untouched", tries: 1},
		{name: "broken once, from the start again", cut: first, tries: 2},
		{name: "broken twice, resumed", cut: second, ranges: true, tries: 3},
		{name: "always broken", cut: always, want: "transfer broke at byte", kind: fault.Network, tries: 5},
		{name: "flipped byte", flip: first, want: "checksum mismatch", kind: fault.Verify, tries: 1},
		{name: "flipped byte before a break, resumed", cut: first, flip: first, ranges: true, tries: 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			var tries atomic.Int32
			tries.Store(-1) // the first read is try 0
			s.spoil(tt, s.twice, &tries)
			var progress oci.Progress
			got, err := s.read(t, s.host+"/demo:twice", oci.Options{Progress: func(p oci.Progress) {
				if p.Done > p.Total || p.Done < progress.Done {
					t.Errorf("progress %+v after %+v", p, progress)
				}
				progress = p
			}})
			if n := tries.Load(); n != tt.tries {
				t.Errorf("blob was asked for %d times; want %d", n, tt.tries)
			}
			if tt.want != "" {
				wantError(t, err, tt.want, tt.kind)
				wantError(t, err, s.twice[:12], tt.kind)
				return
			}
			want := lines([]found{{Entry: regular("big", 3), content: "new"}, {Entry: regular("link", len(big().body)), content: big().body}})
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("error %v, flattened (-want +got):\n%s", err, diff)
			}
			if progress.Done != progress.Total {
				t.Errorf("last progress is %+v", progress)
			}
		})
	}
}

// TestReadFilesSpools reads files of one layer several times, which is fetched
// once for it.
func TestReadFilesSpools(t *testing.T) {
	s := newServer(t)
	var tries atomic.Int32
	s.spoil(transferRow{}, s.twice, &tries)
	img, err := resolve(t, s.host+"/demo:twice", oci.Options{SpoolDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	p, err := oci.Read(t.Context(), img, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		files, err := p.ReadFiles(t.Context(), []string{"link"}, 1<<21)
		if err != nil || string(files["link"]) != big().body {
			t.Errorf("ReadFiles gives %d bytes, %v", len(files["link"]), err)
		}
	}
	if n := tries.Load(); n != 2 {
		t.Errorf("blob was asked for %d times; want 2", n)
	}
}

// A cutter closes the connection after n bytes.
type cutter struct {
	http.ResponseWriter
	n int64
}

func (c *cutter) Write(b []byte) (int, error) {
	if int64(len(b)) > c.n {
		_, _ = c.ResponseWriter.Write(b[:c.n])
		if f, ok := c.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	}
	c.n -= int64(len(b))
	return c.ResponseWriter.Write(b)
}
