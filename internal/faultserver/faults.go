package faultserver

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
)

// A Fault changes an answer. It may be called for several at once.
type Fault func(r *Request, a *Answer)

// On applies a fault to what is about one of the roles.
func On(f Fault, roles ...Role) Fault {
	return func(r *Request, a *Answer) {
		if slices.Contains(roles, r.Role) {
			f(r, a)
		}
	}
}

// Ranged applies a fault to requests for a range.
func Ranged(f Fault) Fault {
	return func(r *Request, a *Answer) {
		if r.Header.Get("Range") != "" {
			f(r, a)
		}
	}
}

// Times applies a fault to the first n GETs that come to it.
func Times(n int, f Fault) Fault { return counted(f, func(i int) bool { return i <= n }) }

// After applies a fault to the GETs that come to it, the first n left out.
func After(n int, f Fault) Fault { return counted(f, func(i int) bool { return i > n }) }

func counted(f Fault, hit func(i int) bool) Fault {
	var mu sync.Mutex
	i := 0
	return func(r *Request, a *Answer) {
		if r.Method != http.MethodGet {
			return
		}
		mu.Lock()
		i++
		now := hit(i)
		mu.Unlock()
		if now {
			f(r, a)
		}
	}
}

// Status answers with an error.
func Status(code int) Fault {
	return func(r *Request, a *Answer) { *a = *r.problem(code, "FAULT") }
}

// RetryAfter answers with an error and says when to come back: a number of
// seconds or a date.
func RetryAfter(code int, when string) Fault {
	return func(r *Request, a *Answer) {
		Status(code)(r, a)
		a.Header.Set("Retry-After", when)
	}
}

// Redirect sends the client to the same layout below another URL.
func Redirect(base string) Fault {
	return func(r *Request, a *Answer) {
		if r.Digest == "" {
			return
		}
		*a = *r.problem(http.StatusTemporaryRedirect, "MOVED")
		a.Header.Set("Location", base+"/blobs/sha256/"+r.Digest[len("sha256:"):])
	}
}

// NoRanges answers to a range with the whole content and 200.
func NoRanges() Fault {
	return func(r *Request, a *Answer) {
		if a.Status == http.StatusPartialContent {
			*a = *r.part(0, int64(len(r.content)))
			a.Status = http.StatusOK
			a.Header.Del("Content-Range")
		}
		a.Header.Del("Accept-Ranges")
	}
}

// WrongRange answers to a range with the one that lies by bytes beside it,
// and says so.
func WrongRange(by int64) Fault {
	return func(r *Request, a *Answer) {
		if off, n, ok := r.beside(a, by); ok {
			*a = *r.part(off, n)
		}
	}
}

// WrongBytes is WrongRange that claims to be the right one.
func WrongBytes(by int64) Fault {
	return func(r *Request, a *Answer) {
		if off, n, ok := r.beside(a, by); ok && n == a.Length {
			a.Body = bytes.NewReader(r.content[off : off+n])
		}
	}
}

// beside moves the range that is answered by some bytes, as far as there are
// some.
func (r *Request) beside(a *Answer, by int64) (off, n int64, ok bool) {
	if a.Status != http.StatusPartialContent {
		return 0, 0, false
	}
	size := int64(len(r.content))
	off = a.Off + by
	if off+a.Length > size {
		off = a.Off - by
	}
	if off < 0 || off+a.Length > size {
		return 0, 0, false
	}
	return off, a.Length, true
}

// Flip changes one bit of the content's byte at off, counted from its end if
// negative.
func Flip(off int64) Fault {
	return func(r *Request, a *Answer) {
		at := off
		if at < 0 {
			at += int64(len(r.content))
		}
		if at < 0 || at >= int64(len(r.content)) {
			panic(fmt.Sprintf("%s has no byte %d", r.URL.Path, off))
		}
		a.Body = &flipper{a.Body, at - a.Off}
	}
}

// FlipAfter is Flip of the byte that follows the first occurrence of a marker,
// in what has it.
func FlipAfter(marker string) Fault {
	return func(r *Request, a *Answer) {
		if i := bytes.Index(r.content, []byte(marker)); i >= 0 {
			Flip(int64(i+len(marker)))(r, a)
		}
	}
}

type flipper struct {
	r  io.Reader
	at int64 // from here
}

func (f *flipper) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if f.at >= 0 && f.at < int64(n) {
		p[f.at] ^= 1
	}
	f.at -= int64(n)
	return n, err
}

// Replace answers with another content.
func Replace(content []byte) Fault {
	return func(r *Request, a *Answer) {
		h := a.Header
		*a = *r.serve(r.mediaType, content)
		if d := h.Get("Docker-Content-Digest"); d != "" {
			a.Header.Set("Docker-Content-Digest", d)
		}
	}
}

// Resize makes the content longer, with bytes that look like any others, or
// shorter.
func Resize(by int) Fault {
	return func(r *Request, a *Answer) {
		if r.content == nil {
			return
		}
		other := slices.Clone(r.content[:min(len(r.content), len(r.content)+by)])
		for i := range by {
			other = append(other, r.content[i%len(r.content)])
		}
		Replace(other)(r, a)
	}
}

// Truncate ends the body after n bytes as if that were all, with no length
// announced.
func Truncate(n int64) Fault {
	return func(r *Request, a *Answer) {
		a.Body, a.Length = io.LimitReader(a.Body, n), -1
	}
}
