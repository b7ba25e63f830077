package faultserver_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/abupdate/abupdate/internal/faultserver"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
)

// A site is a server of one update.
type site struct {
	*faultserver.Server
	url      string
	dir      string
	manifest []byte
	digest   string // of the update's manifest
	data     string // digest of the squashfs
	squashfs string
	subject  v1.Hash
}

func newSite(t *testing.T, faults ...faultserver.Fault) *site {
	t.Helper()
	s := newSiteTB(t)
	s.Set(faults...)
	s.url = "http://" + s.Start(t)
	return s
}

func newSiteTB(t testing.TB) *site {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &site{dir: dir, squashfs: strings.Repeat("0123456789abcdef", 64)}
	file := func(name, content string) oci.UpdateFile {
		name = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return oci.UpdateFile{Path: name}
	}
	h, size, err := v1.SHA256(strings.NewReader("an image"))
	if err != nil {
		t.Fatal(err)
	}
	s.subject = h
	s.digest, err = oci.WriteUpdate(t.Context(), dir, "v1", oci.Update{
		Config: []byte(`{"config":true}`), Squashfs: file("data", s.squashfs), Tree: file("tree", "tree"),
		Subject: &v1.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: h, Size: size},
	})
	if err != nil {
		t.Fatal(err)
	}
	data, _, err := v1.SHA256(strings.NewReader(s.squashfs))
	if err != nil {
		t.Fatal(err)
	}
	s.data = data.String()
	if s.manifest, err = os.ReadFile(filepath.Join(dir, "blobs", strings.Replace(s.digest, ":", "/", 1))); err != nil {
		t.Fatal(err)
	}
	s.Server = faultserver.New(dir)
	return s
}

// reply is what came back; err is that of the transport or the body.
type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

func (s *site) get(t *testing.T, path string, header ...string) reply {
	t.Helper()
	return s.do(t, http.MethodGet, path, header...)
}

func (s *site) do(t *testing.T, method, path string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	c := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // which would ask again by itself
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := c.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(b), err}
}

func (s *site) blob() string { return "/v2/os/blobs/" + s.data }

func TestRegistry(t *testing.T) {
	s := newSite(t)
	index := func(body string) (digests []string) {
		var m v1.IndexManifest
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Errorf("%q: %v", body, err)
		}
		for _, d := range m.Manifests {
			digests = append(digests, d.Digest.String()+" "+d.ArtifactType)
		}
		return digests
	}
	update := []string{s.digest + " " + manifest.ArtifactType}
	for _, tt := range []struct {
		name, path string
		status     int
		check      func(r reply) bool
	}{
		{"ping", "/v2/", 200, nil},
		{"manifest by tag", "/v2/a/b/manifests/v1", 200, func(r reply) bool { return r.header.Get("Docker-Content-Digest") == s.digest }},
		{"manifest by digest", "/v2/os/manifests/" + s.digest, 200, func(r reply) bool { return strings.Contains(r.body, s.data) }},
		{"no such tag", "/v2/os/manifests/v2", 404, func(r reply) bool { return strings.Contains(r.body, "MANIFEST_UNKNOWN") }},
		{"no signatures", "/v2/os/manifests/" + strings.Replace(s.digest, ":", "-", 1) + ".sig", 404, nil},
		{"blob", s.blob(), 200, func(r reply) bool { return r.body == s.squashfs && r.header.Get("Accept-Ranges") == "bytes" }},
		{"no such blob", "/v2/os/blobs/" + s.subject.String(), 404, nil},
		{"referrers", "/v2/os/referrers/" + s.subject.String(), 200, func(r reply) bool { return cmp.Equal(update, index(r.body)) }},
		{"referrers of a type", "/v2/os/referrers/" + s.subject.String() + "?artifactType=" + manifest.ArtifactType, 200,
			func(r reply) bool {
				return cmp.Equal(update, index(r.body)) && r.header.Get("OCI-Filters-Applied") != ""
			}},
		{"referrers of another type", "/v2/os/referrers/" + s.subject.String() + "?artifactType=x", 200, func(r reply) bool { return index(r.body) == nil }},
		{"referrers' tag", "/v2/os/manifests/sha256-" + s.subject.Hex, 200, func(r reply) bool { return cmp.Equal(update, index(r.body)) }},
		{"index.json", "/somewhere/index.json", 200, func(r reply) bool { return strings.Contains(r.body, s.digest) }},
		{"oci-layout", "/oci-layout", 200, func(r reply) bool { return strings.Contains(r.body, "imageLayoutVersion") }},
		{"file", "/somewhere/blobs/" + strings.Replace(s.data, ":", "/", 1), 200, func(r reply) bool { return r.body == s.squashfs }},
		{"no such file", "/somewhere/else", 404, nil},
	} {
		r := s.get(t, tt.path)
		if r.err != nil || r.status != tt.status || tt.check != nil && !tt.check(r) {
			t.Errorf("%s: GET %s = %d %v %q, %v; want %d", tt.name, tt.path, r.status, r.header, r.body, r.err, tt.status)
		}
		if h := s.do(t, http.MethodHead, tt.path); h.status != tt.status || h.body != "" || h.header.Get("Content-Length") != r.header.Get("Content-Length") {
			t.Errorf("%s: HEAD %s = %d %v; want what GET says", tt.name, tt.path, h.status, h.header)
		}
	}
	if r := s.do(t, http.MethodPut, s.blob()); r.status != http.StatusMethodNotAllowed {
		t.Errorf("PUT = %d; want it refused", r.status)
	}
	s.HideReferrers()
	if r := s.get(t, "/v2/os/referrers/"+s.subject.String()); r.status != 404 {
		t.Errorf("hidden referrers = %d; want 404", r.status)
	}
	if r := s.get(t, "/v2/os/manifests/sha256-"+s.subject.Hex); !cmp.Equal(update, index(r.body)) {
		t.Errorf("fallback tag = %d %q", r.status, r.body)
	}
}

func TestRanges(t *testing.T) {
	s := newSite(t)
	size := len(s.squashfs)
	for _, tt := range []struct {
		ask    string
		status int
		say    string
		body   string
	}{
		{"bytes=0-3", 206, "bytes 0-3/1024", "0123"},
		{"bytes=17-17", 206, "bytes 17-17/1024", "1"},
		{"bytes=1020-4000", 206, "bytes 1020-1023/1024", "cdef"},
		{"bytes=1024-1025", 416, "bytes */1024", ""},
		{"bytes=5-4", 416, "bytes */1024", ""},
		{"bytes=5-", 416, "bytes */1024", ""}, // allowed, and some registries do
		{"", 200, "", s.squashfs},
	} {
		var header []string
		if tt.ask != "" {
			header = []string{"Range", tt.ask}
		}
		r := s.get(t, s.blob(), header...)
		if tt.status == 416 {
			r.body = ""
		}
		if r.status != tt.status || r.header.Get("Content-Range") != tt.say || r.body != tt.body {
			t.Errorf("range %q of %d bytes = %d, %q, %q; want %d, %q, %q", tt.ask, size, r.status, r.header.Get("Content-Range"), r.body, tt.status, tt.say, tt.body)
		}
	}
	want := faultserver.Totals{Requests: 7, Ranges: 6, Bytes: int64(size) + 9}
	got := s.Total(faultserver.Data)
	got.Bytes -= 3 * int64(len(`{"errors":[{"code":"SIZE_INVALID","message":"as told by the test"}]}`))
	if got != want {
		t.Errorf("Total() = %+v; want %+v", got, want)
	}
	if s.Forget(); s.Total() != (faultserver.Totals{}) {
		t.Errorf("Total() after Forget = %+v", s.Total())
	}
}

func TestTokens(t *testing.T) {
	s := newSite(t)
	s.WantToken("me", "secret")
	r := s.get(t, "/v2/")
	challenge := r.header.Get("WWW-Authenticate")
	if r.status != 401 || !strings.HasPrefix(challenge, `Bearer realm="`+s.url+`/token"`) {
		t.Fatalf("ping = %d, %q; want 401 and where tokens are", r.status, challenge)
	}
	token := func(user string) (string, int) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(user, "secret")
		r := s.get(t, "/token?service=faultserver", "Authorization", req.Header.Get("Authorization"))
		var v struct{ Token string }
		if r.status == 200 {
			if err := json.Unmarshal([]byte(r.body), &v); err != nil {
				t.Fatal(err)
			}
		}
		return v.Token, r.status
	}
	if _, status := token("you"); status != 401 {
		t.Errorf("token for another user = %d; want 401", status)
	}
	first, _ := token("me")
	if r := s.get(t, s.blob(), "Authorization", "Bearer "+first); r.status != 200 {
		t.Errorf("blob with a token = %d; want 200", r.status)
	}
	s.ExpireTokens()
	if r := s.get(t, s.blob(), "Authorization", "Bearer "+first); r.status != 401 {
		t.Errorf("blob with an old token = %d; want 401", r.status)
	}
	if second, _ := token("me"); s.get(t, s.blob(), "Authorization", "Bearer "+second).status != 200 {
		t.Error("the next token is not taken")
	}
	var credentials []bool
	for _, r := range s.Log() {
		credentials = append(credentials, r.Credentials)
	}
	if diff := cmp.Diff([]bool{false, true, true, true, true, true, true}, credentials); diff != "" {
		t.Errorf("requests with credentials (-want +got):\n%s", diff)
	}
	if r := s.get(t, "/x/index.json"); r.status != 200 {
		t.Errorf("the web server wants a token: %d", r.status)
	}
}

func TestTLS(t *testing.T) {
	s := newSite(t)
	host, ca := s.StartTLS(t)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("no certificate in %q", ca)
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer c.CloseIdleConnections()
	resp, err := c.Get("https://" + host + "/index.json")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("GET = %d; want 200", resp.StatusCode)
	}
}
