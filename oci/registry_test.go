package oci_test

import (
	"context"
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/abupdate/abupdate/oci"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A server is a registry with one image, and a door in front of it.
type server struct {
	host  string
	door  func(w http.ResponseWriter, r *http.Request, inner http.Handler)
	image v1.Descriptor
	layer string // hex of the lower layer's digest
	twice string // likewise of demo:twice, whose lower layer is read two times
}

// big is a layer that a transfer can break in the middle of.
func big() item { return file("big", bigBody()) }

var bigBody = sync.OnceValue(func() string {
	var b strings.Builder
	for i := 0; b.Len() < 1<<20; i++ {
		b.WriteString(strconv.Itoa(i * i * 2654435761))
	}
	return b.String()
})

// packed is gzipped, once for each layer.
func packed(t testing.TB, b []byte) []byte {
	t.Helper()
	digest := digestOf(b)
	if z, ok := packedLayers.Load(digest); ok {
		return z.([]byte)
	}
	z := gzipped(t, b)
	packedLayers.Store(digest, z)
	return z
}

var packedLayers sync.Map

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.door != nil {
			s.door(w, r, inner)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	s.host = strings.TrimPrefix(srv.URL, "http://")
	l := newLayout(t)
	tars := tarsOf(t, [][]item{{big(), file("a", "old"), file("b", "bee")}, {wh(".wh.b"), wh(".wh.big"), file("a", "new")}})
	s.layer = digestOf(packed(t, tars[0]))
	s.image = l.image(runtime.GOARCH, types.OCILayer, packed, tars...)
	other := l.image("s390x", types.OCILayer, packed, tarOf(t, file("a", "other")))
	multi := l.json(types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{onPlatform(other, "s390x"), onPlatform(s.image, runtime.GOARCH)}})
	tars = tarsOf(t, [][]item{{big(), link("link", "big")}, {file("big", "new")}})
	s.twice = digestOf(packed(t, tars[0]))
	twice := l.image(runtime.GOARCH, types.OCILayer, packed, tars...)
	path, err := layout.FromPath(l.index(s.image, multi, twice))
	if err != nil {
		t.Fatal(err)
	}
	img, err := path.Image(s.image.Digest)
	if err != nil {
		t.Fatal(err)
	}
	img2, err := path.Image(twice.Digest)
	if err != nil {
		t.Fatal(err)
	}
	root, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	idx, err := root.ImageIndex(multi.Digest)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		remote.Write(remoteRef(t, s.host+"/demo:v1"), img),
		remote.Write(remoteRef(t, s.host+"/demo:twice"), img2),
		remote.WriteIndex(remoteRef(t, s.host+"/demo:multi"), idx),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func remoteRef(t *testing.T, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// read resolves and reads an image of the server.
func (s *server) read(t *testing.T, ref string, opt oci.Options) ([]string, error) {
	t.Helper()
	r, err := oci.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	opt.SpoolDir = t.TempDir()
	img, err := oci.Resolve(context.Background(), r, opt)
	if err != nil {
		return nil, err
	}
	all, _, err := read(t, img)
	if closeErr := img.Close(); closeErr != nil {
		t.Errorf("Close: %v", closeErr)
	}
	if left := readDir(t, opt.SpoolDir); len(left) > 0 {
		t.Errorf("Close leaves %v in the spool directory", left)
	}
	return lines(all), err
}

func TestRegistry(t *testing.T) {
	s := newServer(t)
	for _, tt := range []struct{ ref, platform, want string }{
		{"docker://" + s.host + "/demo:v1", "", "new"},
		{s.host + "/demo:v1", "", "new"},
		{s.host + "/demo@" + s.image.Digest.String(), "", "new"},
		{s.host + "/demo:multi", "", "new"},
		{s.host + "/demo:multi", "linux/s390x", "other"},
	} {
		got, err := s.read(t, tt.ref, oci.Options{Platform: tt.platform})
		if err != nil {
			t.Errorf("%s: %v", tt.ref, err)
			continue
		}
		if diff := cmp.Diff([]string{"f a " + tt.want}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.ref, diff)
		}
	}
	for _, tt := range []struct{ ref, platform, want string }{
		{s.host + "/demo:v9", "", "no such image in the registry"},
		{s.host + "/no/such:v1", "", "/no/such:v1: no such image"},
		{s.host + "/demo@" + digestA, "", "no such image"},
		{s.host + "/demo:multi", "linux/riscv64", "no image for platform linux/riscv64"},
	} {
		_, err := s.read(t, tt.ref, oci.Options{Platform: tt.platform})
		kind := fault.Usage
		if tt.platform != "" {
			kind = fault.Refused
		}
		wantError(t, err, tt.want, kind)
	}
}

func TestRegistryUnreachable(t *testing.T) {
	s := newServer(t)
	gone := httptest.NewServer(nil)
	host := strings.TrimPrefix(gone.URL, "http://")
	gone.Close()
	_, err := s.read(t, host+"/demo:v1", oci.Options{})
	wantError(t, err, host+"/demo:v1", fault.Network)
	s.door = func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusInternalServerError)
	}
	_, err = s.read(t, s.host+"/demo:v1", oci.Options{})
	wantError(t, err, s.host+"/demo:v1", fault.Network)
}

func TestRegistryMissingBlob(t *testing.T) {
	s := newServer(t)
	s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		if strings.Contains(r.URL.Path, "/blobs/sha256:"+s.layer) {
			http.NotFound(w, r)
			return
		}
		inner.ServeHTTP(w, r)
	}
	_, err := s.read(t, s.host+"/demo:v1", oci.Options{})
	wantError(t, err, "is missing in the registry", fault.Verify)
}

// TestRegistryFlippedManifest serves another document than the digest names.
func TestRegistryFlippedManifest(t *testing.T) {
	s := newServer(t)
	s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		if !strings.Contains(r.URL.Path, "/manifests/sha256:") {
			inner.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
		_, _ = w.Write(append(rec.Body.Bytes(), ' '))
	}
	for _, ref := range []string{"/demo@" + s.image.Digest.String(), "/demo:multi"} {
		_, err := s.read(t, s.host+ref, oci.Options{})
		wantError(t, err, "does not match", fault.Verify)
	}
}

func TestRegistryCredentials(t *testing.T) {
	s := newServer(t)
	s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		if user, pass, _ := r.BasicAuth(); user != "u" || pass != "p" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}
	home := t.TempDir()
	t.Setenv("DOCKER_CONFIG", home)
	t.Setenv("HOME", home)
	t.Setenv("XDG_RUNTIME_DIR", home)
	t.Setenv("REGISTRY_AUTH_FILE", "")
	_, err := s.read(t, s.host+"/demo:v1", oci.Options{})
	wantError(t, err, "wants other credentials", fault.Network)
	config := `{"auths":{"` + s.host + `":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("u:p")) + `"}}}`
	if err := os.WriteFile(filepath.Join(home, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.read(t, s.host+"/demo:v1", oci.Options{}); err != nil || len(got) != 1 {
		t.Errorf("with credentials: %v, %v", got, err)
	}
}

// TestPlainHTTP leads an outside name to the server on loopback.
func TestPlainHTTP(t *testing.T) {
	s := newServer(t)
	inner := http.DefaultTransport.(*http.Transport).Clone()
	var secure atomic.Int32
	rt := roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Scheme == "https" {
			secure.Add(1)
		}
		r = r.Clone(r.Context())
		r.URL.Host = s.host
		return inner.RoundTrip(r)
	})
	for _, host := range []string{"registry.example", "10.1.2.3:5000"} {
		_, err := s.read(t, "docker://"+host+"/demo:v1", oci.Options{Wire: wire.New(wire.Options{Base: rt})})
		wantError(t, err, host, fault.Network)
		secure.Store(0)
		got, err := s.read(t, "docker://"+host+"/demo:v1", oci.Options{Wire: wire.New(wire.Options{Base: rt}), Insecure: true})
		if err != nil || len(got) != 1 {
			t.Errorf("%s with Insecure: %v, %v", host, got, err)
		}
		if n := secure.Load(); n != 0 {
			t.Errorf("%s with Insecure: %d requests over TLS", host, n)
		}
	}
}

// A registry on loopback whose certificate nobody trusts is not asked without
// TLS instead: its answer to that would hide what is wrong.
func TestUntrustedOnLoopback(t *testing.T) {
	plain := newServer(t)
	var asked atomic.Int32
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer s.Close()
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	host := strings.TrimPrefix(s.URL, "https://")
	_, err := plain.read(t, "docker://"+host+"/demo:v1", oci.Options{})
	wantError(t, err, "certificate", fault.Network)
	if err != nil && strings.Contains(err.Error(), "400") || asked.Load() > 0 {
		t.Errorf("error %v after %d requests; want the one of the certificate alone", err, asked.Load())
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestSpoolGone makes sure that a spool that cannot be made is an error, where
// one is needed.
func TestSpoolGone(t *testing.T) {
	s := newServer(t)
	for tag, want := range map[string]string{"v1": "", "twice": "spooling layers in"} {
		img, err := resolve(t, s.host+"/demo:"+tag, oci.Options{SpoolDir: filepath.Join(t.TempDir(), "no")})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = read(t, img)
		if want == "" && err != nil {
			t.Errorf("reading %s without a spool directory: %v", tag, err)
		} else if want != "" {
			wantError(t, err, want, fault.Other)
		}
	}
}

// TestRegistryStalls lets the server fall silent in the middle of a blob, once.
func TestRegistryStalls(t *testing.T) {
	s := newServer(t)
	var tries atomic.Int32
	s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		if strings.Contains(r.URL.Path, "/blobs/sha256:"+s.layer) && tries.Add(1) == 1 {
			rec := httptest.NewRecorder()
			inner.ServeHTTP(rec, r)
			w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
			_, _ = w.Write(rec.Body.Bytes()[:1000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		inner.ServeHTTP(w, r)
	}
	got, err := s.read(t, s.host+"/demo:v1", oci.Options{Wire: wire.New(wire.Options{Stall: 200 * time.Millisecond})})
	if err != nil || len(got) != 1 || tries.Load() < 2 {
		t.Errorf("read = %v, %v after %d tries", got, err, tries.Load())
	}
}

func TestRegistryCanceled(t *testing.T) {
	s := newServer(t)
	ctx, cancel := context.WithCancel(context.Background())
	s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		if strings.Contains(r.URL.Path, "/blobs/sha256:"+s.layer) {
			cancel()
			<-r.Context().Done()
			return
		}
		inner.ServeHTTP(w, r)
	}
	ref, err := oci.ParseReference(s.host + "/demo:v1")
	if err != nil {
		t.Fatal(err)
	}
	img, err := oci.Resolve(ctx, ref, oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = oci.Read(ctx, img, nil)
	if fault.KindOf(err) != fault.Canceled {
		t.Errorf("Read = %v; want a canceled context", err)
	}
	if err := img.Close(); err != nil {
		t.Error(err)
	}
}
