package faultserver

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"strconv"
)

// A Request is one that is about to be answered.
type Request struct {
	*http.Request
	Role   Role
	Digest string // of the content; "" for what is no blob

	server    *Server
	mediaType string
	content   []byte
}

// An Answer is what the server is about to say; a Fault changes it.
type Answer struct {
	Status int // 0 closes the connection without a word
	Header http.Header
	Length int64 // Content-Length; negative sends none
	Off    int64 // of Body's first byte in the content
	Body   io.Reader

	before []func()
}

var closedRange = regexp.MustCompile(`^bytes=(\d+)-(\d+)$`)

// asked is the range that the request asks for, as far as the content has it.
// Whole says that it asks for none.
func (r *Request) asked(size int64) (off, n int64, whole, ok bool) {
	h := r.Header.Get("Range")
	if h == "" {
		return 0, size, true, true
	}
	m := closedRange.FindStringSubmatch(h)
	if m == nil {
		return 0, 0, false, false
	}
	first, err1 := strconv.ParseInt(m[1], 10, 64)
	last, err2 := strconv.ParseInt(m[2], 10, 64)
	if err1 != nil || err2 != nil || first >= size || last < first {
		return 0, 0, false, false
	}
	return first, min(last+1, size) - first, false, true
}

// serve answers with content, or the range of it that is asked for.
func (r *Request) serve(mediaType string, content []byte) *Answer {
	r.mediaType, r.content = mediaType, content
	size := int64(len(content))
	off, n, whole, ok := r.asked(size)
	if !ok {
		a := r.problem(http.StatusRequestedRangeNotSatisfiable, "SIZE_INVALID")
		a.Header.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		return a
	}
	a := r.part(off, n)
	if whole {
		a.Status = http.StatusOK
		a.Header.Del("Content-Range")
	}
	return a
}

// part answers with n bytes from off on, with 206.
func (r *Request) part(off, n int64) *Answer {
	a := &Answer{
		Status: http.StatusPartialContent, Header: make(http.Header), Length: n, Off: off,
		Body: bytes.NewReader(r.content[off : off+n]),
	}
	a.Header.Set("Content-Type", r.mediaType)
	a.Header.Set("Accept-Ranges", "bytes")
	a.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, len(r.content)))
	return a
}

// problem answers with an error, as registries phrase it.
func (r *Request) problem(status int, code string) *Answer {
	b := fmt.Appendf(nil, `{"errors":[{"code":%q,"message":"as told by the test"}]}`, code)
	return &Answer{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Length: int64(len(b)), Body: bytes.NewReader(b)}
}

// send answers. A body that ends with an error breaks the connection.
func (s *Server) send(w http.ResponseWriter, r *Request, a *Answer, rec *Record) {
	for _, f := range a.before {
		f()
	}
	s.update(func() { rec.Status, rec.Offered = a.Status, a.Off })
	if a.Status == 0 {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), a.Header)
	if a.Length >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(a.Length, 10))
	}
	w.WriteHeader(a.Status)
	if r.Method == http.MethodHead {
		return
	}
	flush := http.NewResponseController(w)
	if err := flush.Flush(); err != nil { // the header goes out whatever the body does
		panic(http.ErrAbortHandler)
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := a.Body.Read(buf)
		if n > 0 {
			m, werr := w.Write(buf[:n])
			s.update(func() { rec.Sent += int64(m) })
			if werr == nil {
				werr = flush.Flush()
			}
			if werr != nil {
				panic(http.ErrAbortHandler) // the client has gone
			}
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}
