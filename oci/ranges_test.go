package oci_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/google/go-cmp/cmp"
)

var rangesBody = strings.Repeat("0123456789abcdef", 40000)

// pushed makes an update in a layout and pushes it to the server.
func pushed(t *testing.T, s *server) (dir, ref string) {
	t.Helper()
	dir = t.TempDir()
	writeUpdate(t, dir, "v1", rangesBody, true, &s.image)
	push(t, "oci:"+dir+":v1", s.host+"/demo:update")
	return dir, s.host + "/demo:update"
}

func push(t *testing.T, from, to string) {
	t.Helper()
	local, err := oci.ParseReference(from)
	if err != nil {
		t.Fatal(err)
	}
	remote, err := oci.ParseReference(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oci.Push(t.Context(), local, remote, oci.Options{}); err != nil {
		t.Fatal(err)
	}
}

// piece reads n bytes of the squashfs.
func piece(t *testing.T, ref string, off, n int64) (string, error) {
	t.Helper()
	img, err := resolve(t, ref, oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := img.Ranges(manifest.SquashfsMediaType)
	if err != nil {
		t.Fatal(err)
	}
	if r.Size() != int64(len(rangesBody)) {
		t.Errorf("%s: Size() = %d; want %d", ref, r.Size(), len(rangesBody))
	}
	rc, err := r.Open(t.Context(), off, n)
	if err != nil {
		return "", err
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	return string(b), err
}

func TestRanges(t *testing.T) {
	s := newServer(t)
	dir, remote := pushed(t, s)
	archive := filepath.Join(t.TempDir(), "u.tar")
	if out, err := exec.Command("tar", "-C", dir, "-cf", archive, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	size := int64(len(rangesBody))
	for _, ref := range []string{remote, "oci:" + dir, "oci-archive:" + archive} {
		for _, at := range [][2]int64{{0, 1}, {0, size}, {4096, 8192}, {size - 1, 1}, {1, size - 1}} {
			got, err := piece(t, ref, at[0], at[1])
			if err != nil || got != rangesBody[at[0]:at[0]+at[1]] {
				t.Errorf("%s: %d bytes at %d: got %d bytes, %v", ref, at[1], at[0], len(got), err)
			}
		}
		for _, at := range [][2]int64{{-1, 1}, {0, 0}, {0, size + 1}, {size, 1}, {size - 1, 2}, {1 << 62, 1 << 62}} {
			if _, err := piece(t, ref, at[0], at[1]); err == nil {
				t.Errorf("%s: %d bytes at %d: no error", ref, at[1], at[0])
			}
		}
	}
}

// TestRangesAnswers lets a server answer a range in other ways than it should.
func TestRangesAnswers(t *testing.T) {
	whole := int64(len(rangesBody))
	send := func(code int, contentRange, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if contentRange != "" {
				w.Header().Set("Content-Range", contentRange)
			}
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
		}
	}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
		kind   fault.Kind
		none   bool // errors.Is ErrNoRanges
	}{
		{"right", send(206, fmt.Sprintf("bytes 100-199/%d", whole), rangesBody[100:200]), "", 0, false},
		{"right, size not told", send(206, "bytes 100-199/*", rangesBody[100:200]), "", 0, false},
		{"all of it", send(200, "", rangesBody), "answers a range with all of it", fault.Network, true},
		{"416", send(416, "bytes */5", ""), "answers 416 to bytes 100 to 199 of 640000", fault.Network, true},
		{"no Content-Range", send(206, "", rangesBody[100:200]), `Content-Range ""`, fault.Network, false},
		{"other bytes", send(206, fmt.Sprintf("bytes 0-99/%d", whole), rangesBody[:100]), "answers bytes 100 to 199 with bytes 0 to 99", fault.Network, false},
		{"bytes too many", send(206, fmt.Sprintf("bytes 100-300/%d", whole), rangesBody[100:301]), "with bytes 100 to 300", fault.Network, false},
		{"body too long", send(206, fmt.Sprintf("bytes 100-199/%d", whole), rangesBody[100:201]), "sends 101 bytes for a range of 100", fault.Network, false},
		{"blob shorter than said", send(206, "bytes 100-199/200", rangesBody[100:200]), "the server has 200 bytes of it; want 640000", fault.Verify, false},
		{"missing", send(404, "", ""), "is missing in the registry", fault.Verify, false},
		{"forbidden", send(403, "", ""), "the registry answers 403 Forbidden", fault.Network, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t)
			_, ref := pushed(t, s)
			s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
				if r.Header.Get("Range") != "" {
					tt.answer(w, r)
					return
				}
				inner.ServeHTTP(w, r)
			}
			got, err := piece(t, ref, 100, 100)
			if errors.Is(err, oci.ErrNoRanges) != tt.none {
				t.Errorf("error %v; one of no ranges: want %v", err, tt.none)
			}
			if tt.want != "" {
				wantError(t, err, tt.want, tt.kind)
				return
			}
			if err != nil || got != rangesBody[100:200] {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		})
	}
}

// TestRangesResume breaks the connection in a piece, and lets the server give
// less at a time than it was asked for.
func TestRangesResume(t *testing.T) {
	for _, cut := range []string{"broken", "short"} {
		t.Run(cut, func(t *testing.T) {
			s := newServer(t)
			_, ref := pushed(t, s)
			var asked []string
			s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
				want := r.Header.Get("Range")
				if want == "" {
					inner.ServeHTTP(w, r)
					return
				}
				asked = append(asked, want)
				var first, last int
				if _, err := fmt.Sscanf(want, "bytes=%d-%d", &first, &last); err != nil {
					t.Error(err)
				}
				if cut == "short" {
					last = min(last, first+9999)
				}
				body := rangesBody[first : last+1]
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(rangesBody)))
				w.Header().Set("Content-Length", strconv.Itoa(len(body)))
				w.WriteHeader(http.StatusPartialContent)
				if cut == "broken" && len(asked) < 3 {
					w = &cutter{w, 10000}
				}
				_, _ = w.Write([]byte(body))
			}
			got, err := piece(t, ref, 1000, 30000)
			if err != nil || got != rangesBody[1000:31000] {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			want := []string{"bytes=1000-30999", "bytes=11000-30999", "bytes=21000-30999"}
			if diff := cmp.Diff(want, asked); diff != "" {
				t.Errorf("asked for (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRangesTooLong sends more than the range has, without saying how much.
func TestRangesTooLong(t *testing.T) {
	s := newServer(t)
	_, ref := pushed(t, s)
	s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		if r.Header.Get("Range") == "" {
			inner.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Range", "bytes 0-9/*")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write([]byte(rangesBody[:5]))
		w.(http.Flusher).Flush() // chunked
		_, _ = w.Write([]byte(rangesBody[5:20]))
	}
	_, err := piece(t, ref, 0, 10)
	wantError(t, err, "more bytes than the range has that ends at byte 10", fault.Verify)
}
