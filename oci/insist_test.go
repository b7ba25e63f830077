package oci_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/abupdate/abupdate/oci"
)

// overwritten has somebody else write a manifest under the tag that a suffix
// ends, right after the first n who do.
func overwritten(s *server, suffix string, n int32, doc func() (mediaType types.MediaType, doc []byte)) (puts *atomic.Int32) {
	puts = new(atomic.Int32)
	s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		inner.ServeHTTP(w, r)
		if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, suffix) || puts.Add(1) > n {
			return
		}
		mt, b := doc()
		other := httptest.NewRequest(http.MethodPut, r.URL.Path, bytes.NewReader(b))
		other.Header.Set("Content-Type", string(mt))
		inner.ServeHTTP(httptest.NewRecorder(), other)
	}
	return puts
}

// impatient waits for nothing between tries.
func impatient() oci.Options { return oci.Options{Wire: wire.New(hastily(wire.Options{}))} }

// pushReferrer pushes an update of the server's image.
func pushReferrer(t *testing.T, s *server, opt oci.Options) (digest string, err error) {
	t.Helper()
	dir := t.TempDir()
	digest = writeUpdate(t, dir, "v1", "x", true, &s.image)
	_, err = oci.Push(t.Context(), parsed(t, "oci:"+dir+":v1"), parsed(t, s.host+"/demo:update"), opt)
	return digest, err
}

func parsed(t *testing.T, name string) oci.Reference {
	t.Helper()
	ref, err := oci.ParseReference(name)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// TestPushIntoAList has others write the list of referrers at the same time,
// with what they had read before.
func TestPushIntoAList(t *testing.T) {
	for _, tt := range []struct {
		name string
		n    int32 // how often somebody else writes it
		puts int32
		kind fault.Kind
	}{
		{"nobody else", 0, 1, 0},
		{"once", 1, 2, 0},
		{"three times", 3, 4, 0},
		{"always", 1000, 6, fault.Network},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t)
			another := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: s.image.Digest, Size: s.image.Size, ArtifactType: "application/x"}
			puts := overwritten(s, strings.Replace(s.image.Digest.String(), ":", "-", 1), tt.n, func() (types.MediaType, []byte) {
				b, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{another}})
				if err != nil {
					t.Error(err)
				}
				return types.OCIImageIndex, b
			})
			digest, err := pushReferrer(t, s, impatient())
			if fault.KindOf(err) != tt.kind || err != nil && !strings.Contains(err.Error(), "others write to the same tag") {
				t.Fatalf("Push() = %v; want kind %d", err, tt.kind)
			}
			if got := puts.Load(); got != tt.puts {
				t.Errorf("the list was written %d times; want %d", got, tt.puts)
			}
			if err != nil {
				return
			}
			img, err := resolve(t, s.host+"/demo:v1", oci.Options{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := img.Referrers(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			has := func(d string) bool {
				return slices.ContainsFunc(got, func(r v1.Descriptor) bool { return r.Digest.String() == d })
			}
			if !has(digest) || has(another.Digest.String()) != (tt.n > 0) {
				t.Errorf("referrers are %v; want %s, and what others wrote", got, digest)
			}
		})
	}
}

// TestPushToAnyRegistry lists a referrer whatever a registry without the API
// says of it.
func TestPushToAnyRegistry(t *testing.T) {
	for code, body := range map[int]string{
		http.StatusNotFound: "", http.StatusBadRequest: "", http.StatusMethodNotAllowed: "", http.StatusNotImplemented: "", http.StatusOK: "<!doctype html>",
	} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			s := newServer(t)
			s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
				if !strings.Contains(r.URL.Path, "/referrers/") {
					inner.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(code)
				_, _ = w.Write([]byte(body))
			}
			digest, err := pushReferrer(t, s, impatient())
			if err != nil {
				t.Fatal(err)
			}
			img, err := resolve(t, s.host+"/demo:v1", oci.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := referrers(t, img, manifest.ArtifactType); len(got) != 1 || got[0] != digest {
				t.Errorf("referrers are %q; want %s", got, digest)
			}
		})
	}
}

// TestSignAtOnce keeps signatures that several add at the same time.
func TestSignAtOnce(t *testing.T) {
	s := newServer(t)
	tag := strings.Replace(s.image.Digest.String(), ":", "-", 1) + ".sig"
	add := func(sigs ...oci.Signature) error {
		return oci.AddSignatures(t.Context(), parsed(t, s.host+"/demo"), s.image.Digest.String(), impatient(), func([]oci.Signature) ([]oci.Signature, error) { return sigs, nil })
	}
	var before []byte // with the first signature only
	s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, tag) {
			b := new(bytes.Buffer)
			if _, err := b.ReadFrom(r.Body); err != nil {
				t.Error(err)
			}
			before, r.Body = b.Bytes(), http.NoBody
			r = httptest.NewRequest(r.Method, r.URL.Path, bytes.NewReader(before))
			r.Header.Set("Content-Type", string(types.OCIManifestSchema1))
		}
		inner.ServeHTTP(w, r)
	}
	if err := add(simple("one")); err != nil {
		t.Fatal(err)
	}
	first := before
	puts := overwritten(s, tag, 1, func() (types.MediaType, []byte) { return types.OCIManifestSchema1, first })
	if err := add(simple("two")); err != nil {
		t.Fatal(err)
	}
	if got := puts.Load(); got != 2 {
		t.Errorf("the signatures were written %d times; want 2", got)
	}
	wantSignatures(t, s.host+"/demo:v1", oci.Options{}, simple("one"), simple("two"))
	overwritten(s, tag, 1000, func() (types.MediaType, []byte) { return types.OCIManifestSchema1, first })
	if err := add(simple("three")); fault.KindOf(err) != fault.Network || !strings.Contains(err.Error(), "others write to the same tag") {
		t.Errorf("AddSignatures() = %v; want kind %d", err, fault.Network)
	}
}
