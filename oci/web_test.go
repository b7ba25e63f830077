package oci_test

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/abupdate/abupdate/oci"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// serve has a web server give the files in dir below /path; door may answer
// instead, and says so.
func serve(t *testing.T, dir string, door func(w http.ResponseWriter, r *http.Request) bool) (host string) {
	t.Helper()
	files := http.StripPrefix("/path", http.FileServer(http.Dir(dir)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if door == nil || !door(w, r) {
			files.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// webLayout has an image for two architectures, one that is read twice, and an
// update of each kind.
func webLayout(t *testing.T) (dir string, image v1.Descriptor) {
	t.Helper()
	l := newLayout(t)
	image = l.image(runtime.GOARCH, types.OCILayer, packed, tarsOf(t, [][]item{{big(), file("a", "old")}, {wh(".wh.big"), file("a", "new")}})...)
	other := l.image("s390x", types.OCILayer, packed, tarOf(t, file("a", "other")))
	multi := l.json(types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{onPlatform(other, "s390x"), onPlatform(image, runtime.GOARCH)}})
	twice := l.image(runtime.GOARCH, types.OCILayer, packed, tarsOf(t, [][]item{{big(), link("link", "big")}, {file("big", "new")}})...)
	l.index(tagged(image, "v1"), tagged(multi, "multi"), tagged(twice, "twice"))
	writeUpdate(t, l.dir, "update", rangesBody, true, &image)
	return l.dir, image
}

func TestWeb(t *testing.T) {
	dir, image := webLayout(t)
	var mu sync.Mutex
	asked := map[string]int{}
	base := "http://" + serve(t, dir, func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		asked[r.URL.Path]++
		return false
	}) + "/path"
	if err := os.Symlink(dir, filepath.Join(dir, "a b")); err != nil {
		t.Fatal(err)
	}
	s := &server{}
	for _, tt := range []struct{ ref, platform, want string }{
		{base + ":v1", "", "f a new"},
		{base + "/:v1", "", "f a new"},
		{base + "/a%20b:v1", "", "f a new"},
		{base + "/a b:v1", "", "f a new"},
		{base + "@" + image.Digest.String(), "", "f a new"},
		{base + ":@0", "", "f a new"},
		{base + ":multi", "", "f a new"},
		{base + ":multi", "linux/s390x", "f a other"},
		{base + ":twice", "", "f big new"},
	} {
		got, err := s.read(t, tt.ref, oci.Options{Platform: tt.platform})
		if err != nil || len(got) == 0 || got[0] != tt.want {
			t.Errorf("%s: %q, %v; want %q first", tt.ref, got, err, tt.want)
		}
	}
	for _, tt := range []struct {
		ref, want string
		kind      fault.Kind
	}{
		{base + ":v9", "no such image; tags are multi, twice, update, v1", fault.Usage},
		{base, "names 4 images", fault.Usage},
		{base + "/no:v1", "is not an OCI image layout", fault.Usage},
		{base + "@" + digestA, "no image with this digest", fault.Usage},
	} {
		_, err := s.read(t, tt.ref, oci.Options{})
		wantError(t, err, tt.want, tt.kind)
	}
	ref := base + ":update"
	size := int64(len(rangesBody))
	for _, at := range [][2]int64{{0, 1}, {0, size}, {4096, 8192}, {size - 1, 1}} {
		if got, err := piece(t, ref, at[0], at[1]); err != nil || got != rangesBody[at[0]:at[0]+at[1]] {
			t.Errorf("%d bytes at %d: got %d bytes, %v", at[1], at[0], len(got), err)
		}
	}
	clear(asked)
	img, err := resolve(t, base+":v1", oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	descs, err := img.Referrers(t.Context(), manifest.ArtifactType)
	if err != nil || len(descs) != 1 {
		t.Fatalf("referrers are %v, %v; want one", descs, err)
	}
	sibling, err := img.Sibling(t.Context(), descs[0])
	if err != nil || !sibling.IsUpdate() {
		t.Fatalf("sibling is %v, %v", sibling, err)
	}
	if err := sibling.Close(); err != nil {
		t.Error(err)
	}
	sigs, err := img.Signatures(t.Context())
	if err != nil || len(sigs) != 0 {
		t.Errorf("signatures are %v, %v", sigs, err)
	}
	for path, n := range asked {
		if n != 1 {
			t.Errorf("%s was asked for %d times; want once", path, n)
		}
	}
}

func TestWebAnswers(t *testing.T) {
	dir, _ := webLayout(t)
	code := func(path string, code int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, path) {
				return false
			}
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	for _, tt := range []struct {
		name string
		door func(http.ResponseWriter, *http.Request) bool
		want string
		kind fault.Kind
	}{
		{"a page for people", code("index.json", 200, "<html>"), "index.json: invalid character", fault.Verify},
		{"forbidden", code("index.json", 403, ""), "the server wants other credentials: it answers 403", fault.Network},
		{"broken server", code("index.json", 500, ""), "index.json: the server answers 500", fault.Network},
		{"too much", code("index.json", 200, strings.Repeat(" ", 16<<20+1)), "index.json has more than", fault.Verify},
		{"no blobs", code("/blobs/", 404, ""), "is missing in the layout", fault.Verify},
		{"other blobs", code("/blobs/", 200, "{}"), "the server has 2 bytes of it; want", fault.Verify},
	} {
		s := &server{}
		_, err := s.read(t, "http://"+serve(t, dir, tt.door)+"/path:v1", oci.Options{})
		wantError(t, err, tt.want, tt.kind)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	_, err := resolve(t, gone.URL+"/path", oci.Options{Wire: hasty()})
	wantError(t, err, "connection refused", fault.Network)
}

// hasty is a client that does not wait between tries.
func hasty() *wire.Client { return wire.New(hastily(wire.Options{})) }

func hastily(opt wire.Options) wire.Options {
	opt.Sleep = func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }
	return opt
}

func TestWebPlain(t *testing.T) {
	dir, _ := webLayout(t)
	host := serve(t, dir, nil)
	rt := roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Scheme == "https" {
			t.Errorf("a request for %v", r.URL)
		}
		r = r.Clone(r.Context())
		r.URL.Host = host
		return http.DefaultTransport.RoundTrip(r)
	})
	_, err := resolve(t, "http://web.example/path:v1", oci.Options{Wire: wire.New(wire.Options{Base: rt})})
	wantError(t, err, "plain HTTP to web.example is not allowed without --insecure", fault.Network)
	if _, err := resolve(t, "http://web.example/path:v1", oci.Options{Wire: wire.New(wire.Options{Base: rt}), Insecure: true}); err != nil {
		t.Error(err)
	}
	special := wire.New(wire.Options{Base: rt, Hosts: map[string]wire.Host{"web.example": {Insecure: true}}})
	if _, err := resolve(t, "http://web.example/path:v1", oci.Options{Wire: special}); err != nil {
		t.Error(err)
	}
}

// TestWebCredentials takes them from a file, for one host only.
func TestWebCredentials(t *testing.T) {
	dir, _ := webLayout(t)
	var mu sync.Mutex
	var seen []string
	cdn := serve(t, dir, func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.Header.Get("Authorization"))
		return false
	})
	host := serve(t, dir, func(w http.ResponseWriter, r *http.Request) bool {
		if user, pass, _ := r.BasicAuth(); user != "u" || pass != "p:q" {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		http.Redirect(w, r, "http://"+cdn+r.URL.Path, http.StatusFound)
		return true
	})
	ref := "http://" + host + "/path:v1"
	auth := filepath.Join(t.TempDir(), "auth.json")
	_, err := resolve(t, ref, oci.Options{AuthFile: auth})
	wantError(t, err, "wants other credentials", fault.Network)
	secret := base64.StdEncoding.EncodeToString([]byte("u:p:q"))
	for _, tt := range []struct{ file, want string }{
		{`{"auths":{"` + host + `":{"auth":"` + secret + `"}}}`, ""},
		{`{"auths":{"` + host + `/path":{"auth":"` + secret + `"},"` + host + `":{"auth":"eDp5"}}}`, ""},
		{`{"auths":{"https://` + host + `":{"username":"u","password":"p:q"}}}`, ""},
		{`{"auths":{"` + host + `/other":{"auth":"` + secret + `"}}}`, "wants other credentials"},
		{`{"auths":{"` + host + `":{"auth":"eDp5"}}}`, "wants other credentials"},
		{`{"auths":{"` + host + `":{"auth":"?"}}}`, "auth is not base64"},
		{`{"auths":{"` + host + `":{"auth":"eA=="}}}`, "auth holds no colon"},
		{`{"auths":3}`, "reading " + auth},
	} {
		if err := os.WriteFile(auth, []byte(tt.file), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := resolve(t, ref, oci.Options{AuthFile: auth})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error %v; want %q", tt.file, err, tt.want)
		}
		if kind := fault.KindOf(err); strings.Contains(tt.want, "auth") && kind != fault.Usage {
			t.Errorf("%s: kind %d; want %d", tt.file, kind, fault.Usage)
		}
	}
	if len(seen) == 0 || strings.Join(seen, "") != "" {
		t.Errorf("the other host sees credentials %q", seen)
	}
}

// TestMirrors resolves by mirrors that lack things, break and lie.
func TestMirrors(t *testing.T) {
	dir, _ := webLayout(t)
	reg := newServer(t)
	push(t, "oci:"+dir+":v1", reg.host+"/library/demo:v1")
	var mu sync.Mutex
	var asked []string
	note := func(name string, code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			asked = append(asked, name)
			mu.Unlock()
			if code != 0 {
				w.WriteHeader(code)
			}
			return code != 0
		}
	}
	missing, fine := serve(t, dir, note("missing", 404)), serve(t, dir, note("fine", 0))
	gone := httptest.NewServer(nil)
	gone.Close()
	dead := strings.TrimPrefix(gone.URL, "http://")
	for _, tt := range []struct {
		name    string
		ref     string
		mirrors []string
		want    []string // asked, each once
	}{
		{"web", "https://web.example/path:v1", []string{"http://" + missing, "http://" + fine + "/"}, []string{"missing", "fine"}},
		{"web, the original last", "http://" + serve(t, dir, note("original", 0)) + "/path:v1", []string{dead, "https://" + fine, "http://" + missing}, []string{"missing", "original"}},
		{"registry", reg.host + "/demo:v1", []string{missing, dead}, []string{"missing"}},
		{"another registry", "docker://registry.example/demo:v1", []string{missing, reg.host}, []string{"missing"}},
		{"below a path", "docker://registry.example/demo:v1", []string{missing + "/x", reg.host + "/library/"}, []string{"missing"}},
		{"Docker Hub", "docker://docker.io/demo:v1", []string{missing, reg.host}, []string{"missing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked = nil
			ref, err := oci.ParseReference(tt.ref)
			if err != nil {
				t.Fatal(err)
			}
			host, _, _ := strings.Cut(strings.SplitAfterN(ref.String(), "://", 2)[1], "/")
			c := wire.New(hastily(wire.Options{Hosts: map[string]wire.Host{host: {Mirrors: tt.mirrors}}}))
			got, err := (&server{}).read(t, tt.ref, oci.Options{Wire: c})
			if diff := cmp.Diff([]string{"f a new"}, got); err != nil || diff != "" {
				t.Errorf("error %v, image (-want +got):\n%s", err, diff)
			}
			seen := map[string]bool{}
			var order []string
			for _, name := range asked {
				if !seen[name] {
					order = append(order, name)
				}
				seen[name] = true
			}
			if diff := cmp.Diff(tt.want, order); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
	c := wire.New(wire.Options{Hosts: map[string]wire.Host{reg.host: {Mirrors: []string{"mirror example/"}}}})
	_, err := resolve(t, reg.host+"/demo:v1", oci.Options{Wire: c})
	wantError(t, err, `mirror "mirror example/" of `+reg.host, fault.Usage)
}
