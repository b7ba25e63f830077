package faultserver

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// A Server serves one layout. What is added to the layout is seen at once.
type Server struct {
	dir     string
	release chan struct{}

	mu          sync.Mutex
	faults      []Fault
	log         []*Record
	known       *catalog
	noReferrers bool
	user, pass  string
	wantToken   bool
	tokens      int // the latest; only it is valid
	released    bool
}

// New returns a server of the layout in dir that behaves well.
func New(dir string) *Server { return &Server{dir: dir, release: make(chan struct{})} }

// Start listens on loopback until the test ends and returns the host and port.
func (s *Server) Start(tb testing.TB) (host string) {
	tb.Helper()
	srv := httptest.NewServer(s)
	s.closeAfter(tb, srv)
	return strings.TrimPrefix(srv.URL, "http://")
}

// StartTLS is Start with TLS, and returns also the PEM of the certificate that
// a client has to trust.
func (s *Server) StartTLS(tb testing.TB) (host string, ca []byte) {
	tb.Helper()
	srv := httptest.NewUnstartedServer(s)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not
	srv.StartTLS()
	s.closeAfter(tb, srv)
	return strings.TrimPrefix(srv.URL, "https://"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
}

func (s *Server) closeAfter(tb testing.TB, srv *httptest.Server) {
	tb.Cleanup(func() {
		s.Release()
		srv.CloseClientConnections()
		srv.Close()
	})
}

// Set says what goes wrong from now on; without faults all is well again.
// Faults apply to an answer in the order given.
func (s *Server) Set(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = faults
}

// Release lets answers go on that stall, now and later.
func (s *Server) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.released {
		s.released = true
		close(s.release)
	}
}

// HideReferrers turns the referrers API off; the fallback tag stands in.
func (s *Server) HideReferrers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noReferrers = true
}

// WantToken makes the registry ask for a token, which it gives to everyone, or
// if user is not "" to whoever has the password.
func (s *Server) WantToken(user, pass string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wantToken, s.user, s.pass = true, user, pass
}

// ExpireTokens makes all tokens that were given out worthless.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens++
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	c, err := s.catalog()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	r := &Request{Request: hr, Role: Unknown, server: s}
	a := s.route(c, r)
	s.mu.Lock()
	faults := s.faults
	s.mu.Unlock()
	rec := s.begin(r)
	for _, f := range faults {
		f(r, a)
	}
	s.send(w, r, a, rec)
}

var (
	manifestPath  = regexp.MustCompile(`^/v2/.+/manifests/([^/]+)$`)
	blobsPath     = regexp.MustCompile(`/blobs/(sha256)[:/]([0-9a-f]{64})$`)
	referrersPath = regexp.MustCompile(`^/v2/.+/referrers/(sha256:[0-9a-f]{64})$`)
	fallbackTag   = regexp.MustCompile(`^sha256-([0-9a-f]{64})$`)
)

// route finds out what a request is about and answers it as it should be.
func (s *Server) route(c *catalog, r *Request) *Answer {
	name := r.URL.Path
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return r.problem(http.StatusMethodNotAllowed, "UNSUPPORTED")
	}
	if name == "/token" {
		r.Role = Token
		return s.token(r)
	}
	if !strings.HasPrefix(name, "/v2/") {
		return s.static(c, r)
	}
	a := s.registry(c, r)
	if !s.authorized(r) {
		a = r.problem(http.StatusUnauthorized, "UNAUTHORIZED")
		a.Header.Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="faultserver"`, r.Host))
	}
	return a
}

func (s *Server) registry(c *catalog, r *Request) *Answer {
	name := r.URL.Path
	if name == "/v2/" {
		r.Role = Ping
		return r.serve("application/json", []byte("{}"))
	}
	if m := manifestPath.FindStringSubmatch(name); m != nil {
		return s.manifest(c, r, m[1])
	}
	if m := blobsPath.FindStringSubmatch(name); m != nil {
		return s.blob(c, r, m[1]+":"+m[2], "application/octet-stream")
	}
	if m := referrersPath.FindStringSubmatch(name); m != nil {
		r.Role = Referrers
		s.mu.Lock()
		hidden := s.noReferrers
		s.mu.Unlock()
		if hidden {
			return r.problem(http.StatusNotFound, "NOT_FOUND")
		}
		want := r.URL.Query().Get("artifactType")
		a := r.serve("application/vnd.oci.image.index.v1+json", c.referrersOf(m[1], want))
		if want != "" {
			a.Header.Set("OCI-Filters-Applied", "artifactType")
		}
		return a
	}
	return r.problem(http.StatusNotFound, "NAME_UNKNOWN")
}

func (s *Server) manifest(c *catalog, r *Request, ref string) *Answer {
	digest, tagged := c.tags[ref]
	if !tagged {
		digest = ref
	}
	if d, ok := c.manifests[digest]; ok {
		a := s.blob(c, r, digest, string(d.MediaType))
		a.Header.Set("Docker-Content-Digest", digest)
		return a
	}
	if sigTag.MatchString(ref) {
		r.Role = SigManifest
	}
	if m := fallbackTag.FindStringSubmatch(ref); m != nil {
		r.Role = Referrers
		if subject := "sha256:" + m[1]; len(c.referrers[subject]) > 0 {
			return r.serve("application/vnd.oci.image.index.v1+json", c.referrersOf(subject, ""))
		}
	}
	return r.problem(http.StatusNotFound, "MANIFEST_UNKNOWN")
}

// blob answers with a file of the layout, or a range of it.
func (s *Server) blob(c *catalog, r *Request, digest, mediaType string) *Answer {
	b, err := os.ReadFile(blobPath(s.dir, digest))
	if err != nil {
		return r.problem(http.StatusNotFound, "BLOB_UNKNOWN")
	}
	r.Digest = digest
	if role, ok := c.roles[digest]; ok {
		r.Role = role
	}
	return r.serve(mediaType, b)
}

// static answers as a web server does.
func (s *Server) static(c *catalog, r *Request) *Answer {
	if m := blobsPath.FindStringSubmatch(r.URL.Path); m != nil {
		return s.blob(c, r, m[1]+":"+m[2], "application/octet-stream")
	}
	switch base := path.Base(r.URL.Path); base {
	case "oci-layout", "index.json":
		r.Role = Index
		if b, err := os.ReadFile(filepath.Join(s.dir, base)); err == nil {
			return r.serve("application/json", b)
		}
	}
	return r.problem(http.StatusNotFound, "NOT_FOUND")
}

func (s *Server) authorized(r *Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.wantToken || s.tokens > 0 && r.Header.Get("Authorization") == fmt.Sprintf("Bearer token-%d", s.tokens)
}

func (s *Server) token(r *Request) *Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if user, pass, _ := r.BasicAuth(); s.user != "" && (user != s.user || pass != s.pass) {
		return r.problem(http.StatusUnauthorized, "UNAUTHORIZED")
	}
	if s.tokens == 0 {
		s.tokens = 1
	}
	b, err := json.Marshal(map[string]any{"token": fmt.Sprintf("token-%d", s.tokens), "expires_in": 300})
	if err != nil {
		panic(err) // a map of strings and numbers
	}
	return r.serve("application/json", b)
}
