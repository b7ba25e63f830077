package oci_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
)

// TestDocumentsOfManyValues has a registry send documents that take far more
// memory than room.
func TestDocumentsOfManyValues(t *testing.T) {
	nulls := "[null" + strings.Repeat(",null", 1<<16) + "]"
	for _, tt := range []struct{ name, path, contentType, body string }{
		{"index", "/manifests/v1", string(types.OCIImageIndex), `{"manifests":` + nulls + `}`},
		{"manifest", "/manifests/v1", string(types.OCIManifestSchema1), `{"layers":` + nulls + `}`},
		{"referrers", "/referrers/", string(types.OCIImageIndex), `{"mediaType":"` + string(types.OCIImageIndex) + `","manifests":` + nulls + `}`},
		{"signatures", ".sig", string(types.OCIManifestSchema1), `{"layers":` + nulls + `}`},
	} {
		s := newServer(t)
		s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
			if !strings.Contains(r.URL.Path, tt.path) {
				inner.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", tt.contentType)
			_, _ = w.Write([]byte(tt.body))
		}
		img, err := resolve(t, s.host+"/demo:v1", oci.Options{})
		if err == nil {
			_, err = img.Signatures(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), "more than 65536 values") || fault.KindOf(err) != fault.Verify {
			t.Errorf("%s: error %v; want one of kind %d for too many values", tt.name, err, fault.Verify)
		}
	}
}

// TestReferrersWithoutEnd has a registry list more than anybody wants.
func TestReferrersWithoutEnd(t *testing.T) {
	s := newServer(t)
	var asked atomic.Int32
	desc := `{"mediaType":"application/x","digest":"` + digestA + `","size":1}`
	page := `{"mediaType":"` + string(types.OCIImageIndex) + `","manifests":[` + desc + strings.Repeat(","+desc, 4999) + `]}`
	s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			inner.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", string(types.OCIImageIndex))
		w.Header().Set("Link", fmt.Sprintf(`<%s?n=%d>; rel="next"`, r.URL.Path, asked.Add(1)))
		_, _ = w.Write([]byte(page))
	}
	img, err := resolve(t, s.host+"/demo:v1", oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = img.Referrers(t.Context(), "")
	wantError(t, err, "more than 16384", fault.Refused)
	if n := asked.Load(); n != 4 {
		t.Errorf("%d pages were asked for; want 4", n)
	}
}

// TestSpoolOfEndlessBlob has a registry send a blob without an end, and without
// saying how long it is: the spool must not fill the disk.
func TestSpoolOfEndlessBlob(t *testing.T) {
	const enough = 64 << 20
	s := newServer(t)
	var reads, sent atomic.Int64
	reads.Store(-1) // the first read streams
	s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/sha256:"+s.twice) || reads.Add(1) == 0 {
			inner.ServeHTTP(w, r)
			return
		}
		for chunk := make([]byte, 64<<10); sent.Load() < enough; {
			n, err := w.Write(chunk)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}
	_, err := s.read(t, s.host+"/demo:twice", oci.Options{})
	wantError(t, err, s.twice[:12], fault.Verify)
	if n := sent.Load(); n == 0 || n >= enough {
		t.Errorf("%d bytes were sent; want no more than fit into buffers", n)
	}
}

// TestArchiveOfLongNames has names that take memory: compressed, they take next
// to no room in a file.
func TestArchiveOfLongNames(t *testing.T) {
	const each, names = 100_000, 4
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	tw := tar.NewWriter(zw)
	for i := range names {
		name := fmt.Sprint(i, strings.Repeat("n", each))
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Format: tar.FormatPAX}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "names.tar.gz")
	if err := os.WriteFile(file, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	oci.LimitArchiveNames(t, each*names-1)
	_, err := resolve(t, "oci-archive:"+file, oci.Options{})
	wantError(t, err, "bytes of names", fault.Refused)
}

// TestLargeAttestation passes over what hangs on an image in a bundle and is no
// signature: it must not keep those who have one from updating.
func TestLargeAttestation(t *testing.T) {
	s := newServer(t)
	pushBundle(t, s, s.image, bundleType, `{"bundle":1}`)
	pushBundle(t, s, s.image, bundleType, strings.Repeat("sbom", 100<<10))
	wantSignatures(t, s.host+"/demo:v1", oci.Options{}, oci.Signature{Bundle: []byte(`{"bundle":1}`)})
}
