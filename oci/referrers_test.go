package oci_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// family makes a layout of an image tagged "os", two updates of it, and one of
// something else.
func family(t *testing.T) (dir string, updates []string) {
	t.Helper()
	l := newLayout(t)
	image := tagged(l.image("arm64", types.OCILayer, packed, tarOf(t, file("a", "a"))), "os")
	image.MediaType = types.OCIManifestSchema1
	l.index(image)
	stranger := v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: 3, Digest: v1.Hash{Algorithm: "sha256", Hex: digestA[7:]}}
	image.Annotations = nil
	updates = []string{writeUpdate(t, l.dir, "u1", "one", true, &image), writeUpdate(t, l.dir, "u2", "two", true, &image)}
	writeUpdate(t, l.dir, "u3", "three", true, &stranger)
	writeUpdate(t, l.dir, "u4", "four", true, nil)
	return l.dir, updates
}

func referrers(t *testing.T, img *oci.Image, artifactType string) []string {
	t.Helper()
	descs, err := img.Referrers(t.Context(), artifactType)
	if err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, d := range descs {
		digests = append(digests, d.Digest.String())
		if d.ArtifactType != manifest.ArtifactType || d.Annotations["org.opencontainers.image.version"] != "1" {
			t.Errorf("referrer is %+v", d)
		}
	}
	return digests
}

func inOrder(s []string) []string { return slices.Sorted(slices.Values(s)) }

func TestReferrers(t *testing.T) {
	dir, want := family(t)
	archive := filepath.Join(t.TempDir(), "family.tar")
	if out, err := exec.Command("tar", "-C", dir, "-cf", archive, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	refs := []string{"oci:" + dir + ":os", "oci-archive:" + archive + ":os"}
	for _, api := range []bool{true, false} {
		srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(api)))
		defer srv.Close()
		repo := strings.TrimPrefix(srv.URL, "http://") + "/family"
		for _, tag := range []string{"os", "u1", "u2", "u4"} {
			push(t, "oci:"+dir+":"+tag, repo+":"+tag)
		}
		refs = append(refs, repo+":os")
	}
	for _, ref := range refs {
		parsed, err := oci.ParseReference(ref)
		if err != nil {
			t.Fatal(err)
		}
		img, err := oci.Resolve(t.Context(), parsed, oci.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for artifactType, want := range map[string][]string{manifest.ArtifactType: want, "": want, "application/x": nil} {
			if diff := cmp.Diff(inOrder(want), inOrder(referrers(t, img, artifactType))); diff != "" {
				t.Errorf("%s: referrers of type %q (-want +got):\n%s", ref, artifactType, diff)
			}
		}
		descs, err := img.Referrers(t.Context(), manifest.ArtifactType)
		if err != nil {
			t.Fatal(err)
		}
		sibling, err := img.Sibling(t.Context(), descs[0])
		if err != nil {
			t.Fatal(err)
		}
		if got := referrers(t, sibling, ""); got != nil {
			t.Errorf("%s: referrers of an update are %q", ref, got)
		}
		if err := img.Close(); err != nil { // the sibling goes on
			t.Error(err)
		}
		rc, _, err := sibling.Blob(t.Context(), manifest.SquashfsMediaType)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(rc); err != nil || len(b) != 3 || !sibling.IsUpdate() || sibling.Reference().Digest != descs[0].Digest.String() {
			t.Errorf("%s: sibling %v has a squashfs %q, %v", ref, sibling.Reference(), b, err)
		}
		if err := sibling.Close(); err != nil {
			t.Error(err)
		}
		descs[0].Digest.Hex = digestA[7:]
		_, err = sibling.Sibling(t.Context(), descs[0])
		wantError(t, err, "is missing in the", fault.Verify)
	}
}

// TestReferrersAnswers has registries say in several ways that they have no
// API, or fail.
func TestReferrersAnswers(t *testing.T) {
	const html = "<!doctype html>"
	for _, tt := range []struct {
		name, contentType, body string
		code                    int
		want                    string // "": the list under the tag is taken
		kind                    fault.Kind
	}{
		{"not found", "", "", http.StatusNotFound, "", 0},
		{"bad request", "", "", http.StatusBadRequest, "", 0},
		{"not implemented", "", "", http.StatusNotImplemented, "", 0},
		{"a page for people", "text/html", html, http.StatusOK, "", 0},
		{"forbidden", "", "", http.StatusForbidden, "wants other credentials", fault.Network},
		{"no index", string(types.OCIImageIndex), html, http.StatusOK, "list of referrers", fault.Verify},
		{"an image", string(types.OCIImageIndex), "{}", http.StatusOK, "is an image manifest", fault.Verify},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t)
			dir := t.TempDir()
			digest := writeUpdate(t, dir, "v1", "x", true, &s.image)
			push(t, "oci:"+dir+":v1", s.host+"/demo:update")
			s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
				if !strings.Contains(r.URL.Path, "/referrers/") {
					inner.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Type", tt.contentType)
				w.WriteHeader(tt.code)
				_, _ = w.Write([]byte(tt.body))
			}
			img, err := resolve(t, s.host+"/demo:v1", oci.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if tt.want != "" {
				_, err := img.Referrers(t.Context(), manifest.ArtifactType)
				wantError(t, err, tt.want, tt.kind)
				return
			}
			if diff := cmp.Diff([]string{digest}, referrers(t, img, manifest.ArtifactType)); diff != "" {
				t.Errorf("referrers (-want +got):\n%s", diff)
			}
		})
	}
}
