package faultserver

import "slices"

// A Record is one request that came.
type Record struct {
	Method  string
	Path    string
	Role    Role
	Digest  string // of the content; "" for what is no blob
	Range   string // as it was asked for
	Status  int    // 0 while nothing was said, or when the connection was closed
	Offered int64  // where in the content the answer began
	Sent    int64  // bytes of the body
	// Credentials says that the request carried an Authorization header.
	Credentials bool
}

// Totals sums up requests.
type Totals struct {
	Requests int
	Ranges   int   // requests that asked for a range
	Bytes    int64 // of bodies
}

// Log returns the requests so far, in the order in which they came.
func (s *Server) Log() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := make([]Record, len(s.log))
	for i, r := range s.log {
		log[i] = *r
	}
	return log
}

// Forget empties the log.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

// Total sums up the requests of the given roles, or of all.
func (s *Server) Total(roles ...Role) Totals {
	var t Totals
	for _, r := range s.Log() {
		if len(roles) > 0 && !slices.Contains(roles, r.Role) {
			continue
		}
		t.Requests++
		t.Bytes += r.Sent
		if r.Range != "" {
			t.Ranges++
		}
	}
	return t
}

func (s *Server) begin(r *Request) *Record {
	rec := &Record{
		Method: r.Method, Path: r.URL.Path, Role: r.Role, Digest: r.Digest, Range: r.Header.Get("Range"),
		Credentials: r.Header.Get("Authorization") != "",
	}
	s.update(func() { s.log = append(s.log, rec) })
	return rec
}

func (s *Server) update(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}
