package wire_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/google/go-cmp/cmp"
)

func host(srv *httptest.Server) string { return strings.SplitN(srv.URL, "://", 2)[1] }

// ca writes a server's certificate to a file.
func ca(t *testing.T, srv *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCA speaks to servers whose certificates no system trusts.
func TestCA(t *testing.T) {
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	one, two := httptest.NewTLSServer(hello), httptest.NewTLSServer(hello)
	defer one.Close()
	defer two.Close()
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		hosts map[string]wire.Host
		want  string
		kind  fault.Kind
	}{
		{"unknown", nil, "certificate", fault.Network},
		{"known", map[string]wire.Host{host(one): {CA: ca(t, one)}}, "", 0},
		{"known without the port", map[string]wire.Host{"127.0.0.1": {CA: ca(t, one)}}, "", 0},
		{"that of another", map[string]wire.Host{"example.com": {CA: ca(t, one)}}, "certificate", fault.Network},
		{"no such file", map[string]wire.Host{host(one): {CA: "/no/such/ca"}}, "reading the CA of 127.0.0.1", fault.Usage},
		{"no certificate", map[string]wire.Host{host(one): {CA: empty}}, "holds no certificate in PEM", fault.Usage},
	} {
		clk := newClock()
		opt := clk.use(wire.Options{Hosts: tt.hosts, RetryFor: time.Hour})
		opt.Now = time.Now
		c := wire.New(opt)
		resp, err := get(t, c.Transport(), one.URL)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) || fault.KindOf(fault.Wrap(fault.Network, err)) != tt.kind || len(clk.naps) > 0 {
				t.Errorf("%s: %v after %d pauses; want %q of kind %d at once", tt.name, err, len(clk.naps), tt.want, tt.kind)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || string(b) != "hello" || resp.ProtoMajor != 1 {
			t.Errorf("%s: %q, %v", tt.name, b, err)
		}
		resp.Body.Close()
		c.CloseIdleConnections()
	}
}

func TestProxy(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.RequestURI)
		fmt.Fprint(w, "by proxy")
	}))
	defer proxy.Close()
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := wire.New(wire.Options{Proxy: http.ProxyURL(u)})
	resp, err := get(t, c.Transport(), "http://registry.example/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || string(b) != "by proxy" {
		t.Errorf("answer %q, %v", b, err)
	}
	if diff := cmp.Diff([]string{"http://registry.example/x"}, asked); diff != "" {
		t.Errorf("the proxy was asked for (-want +got):\n%s", diff)
	}
}

// TestRedirect looks at where credentials go.
func TestRedirect(t *testing.T) {
	for _, tt := range []struct {
		name, from, to string
		want           string // of the error
		auth           string // that arrives
	}{
		{"same host", "https://h/a", "https://h/b", "", "secret"},
		{"relative", "https://h/a", "/b", "", "secret"},
		{"other host", "https://h/a", "https://cdn.example/b?sig=topsecret", "", ""},
		{"below the host", "https://example.com/a", "https://cdn.example.com/b", "", ""},
		{"other port", "https://h/a", "https://h:444/b", "", ""},
		{"to no TLS", "https://h/a", "http://h/b", "from TLS to plain http is not followed", ""},
		{"to another scheme", "http://h/a", "file:///etc/passwd", "unsupported", ""},
		{"for ever", "https://h/a", "/a", "more than 10 redirects", ""},
		{"to nowhere", "https://h/a", "https://cdn.example/broken?sig=topsecret", "h, redirected to cdn.example: connection reset", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clk := newClock()
			requests := 0
			inner := roundTrip(func(req *http.Request) (*http.Response, error) {
				requests++
				switch {
				case req.URL.Scheme == "file":
					return nil, errors.New("unsupported")
				case req.URL.Path == "/a":
					return answer(req, http.StatusTemporaryRedirect, "", "Location: "+tt.to), nil
				case req.URL.Path == "/broken":
					return nil, errBroken
				}
				return answer(req, 200, req.Header.Get("Authorization")), nil
			})
			c := wire.New(clk.use(wire.Options{Base: inner}))
			resp, err := get(t, c.Transport(), tt.from, "Authorization: secret")
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "topsecret") {
					t.Errorf("error %v; want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			if err != nil || string(b) != tt.auth {
				t.Errorf("credentials that arrive are %q, %v; want %q", b, err, tt.auth)
			}
		})
	}
}

// TestRedirectAgain begins at the original with each try: what it redirects to
// may be good for minutes only.
func TestRedirectAgain(t *testing.T) {
	clk := newClock()
	var asked []string
	c := wire.New(clk.use(wire.Options{Base: roundTrip(func(req *http.Request) (*http.Response, error) {
		asked = append(asked, req.URL.String())
		if req.URL.Host == "h" {
			return answer(req, 302, "", fmt.Sprintf("Location: https://cdn/%d", len(asked))), nil
		}
		if len(asked) < 4 {
			return answer(req, 503, ""), nil
		}
		return answer(req, 200, ""), nil
	})}))
	if _, err := get(t, c.Transport(), "https://h/x"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"https://h/x", "https://cdn/1", "https://h/x", "https://cdn/3"}, asked); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

// TestRedirectShortcut asks the place that had one range for the next, as long
// as that works, and never with credentials.
func TestRedirectShortcut(t *testing.T) {
	clk := newClock()
	var asked []string
	expired := false
	c := wire.New(clk.use(wire.Options{Base: roundTrip(func(req *http.Request) (*http.Response, error) {
		asked = append(asked, req.URL.String()+" "+req.Header.Get("Authorization"))
		switch {
		case req.URL.Host == "h":
			return answer(req, 307, "", fmt.Sprintf("Location: https://cdn/%d", len(asked))), nil
		case expired:
			expired = false
			return answer(req, 403, ""), nil
		case req.Header.Get("Range") == "":
			return answer(req, 200, ""), nil
		}
		return answer(req, 206, "", "Content-Range: bytes 0-1/2"), nil
	})}))
	rt := c.Transport()
	for i, header := range []string{"Accept: a", "Range: bytes=0-1", "Range: bytes=0-1", "Accept: a", "Range: bytes=0-1", "Range: bytes=0-1"} {
		expired = i == 4
		resp, err := get(t, rt, "https://h/x", header, "Authorization: secret")
		if err != nil || resp.StatusCode >= 300 {
			t.Fatalf("request %d: %v, %v", i, resp, err)
		}
	}
	want := []string{
		"https://h/x secret", "https://cdn/1 ", // no range
		"https://h/x secret", "https://cdn/3 ", // the first
		"https://cdn/3 ",
		"https://h/x secret", "https://cdn/6 ", // no range
		"https://cdn/3 ", "https://h/x secret", "https://cdn/9 ", // what was good for a while
		"https://cdn/9 ",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

// TestClock says what the device thinks the time is when a certificate does
// not fit, and goes on trying: the clock may be set meanwhile.
func TestClock(t *testing.T) {
	clk := newClock()
	c := wire.New(clk.use(wire.Options{Base: roundTrip(func(*http.Request) (*http.Response, error) {
		return nil, &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}
	})}))
	_, err := get(t, c.Transport(), "https://h/x")
	if err == nil || !strings.Contains(err.Error(), "(the clock of this device says 1970-01-01)") || len(clk.naps) != 4 {
		t.Errorf("error %v after %d pauses", err, len(clk.naps))
	}
}

// TestHTTP2 checks that the transport speaks it, and still to a host with a CA
// of its own.
func TestHTTP2(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	c := wire.New(wire.Options{Hosts: map[string]wire.Host{host(srv): {CA: ca(t, srv)}}})
	defer c.CloseIdleConnections()
	resp, err := get(t, c.Transport(), srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "HTTP/2.0" {
		t.Errorf("spoken is %q, %v", b, err)
	}
}
