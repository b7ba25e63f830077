package oci_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
)

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

func simple(text string) oci.Signature {
	return oci.Signature{Payload: []byte("payload " + text), Signature: []byte("signature " + text)}
}

func addSignatures(t *testing.T, to, digest string, sigs ...oci.Signature) {
	t.Helper()
	ref, err := oci.ParseReference(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := oci.AddSignatures(t.Context(), ref, digest, oci.Options{}, func([]oci.Signature) ([]oci.Signature, error) { return sigs, nil }); err != nil {
		t.Fatal(err)
	}
}

// signatures reads those of an image.
func signatures(t *testing.T, ref string, opt oci.Options) ([]oci.Signature, error) {
	t.Helper()
	img, err := resolve(t, ref, opt)
	if err != nil {
		t.Fatal(err)
	}
	return img.Signatures(t.Context())
}

func wantSignatures(t *testing.T, ref string, opt oci.Options, want ...oci.Signature) {
	t.Helper()
	got, err := signatures(t, ref, opt)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("signatures of %s (-want +got):\n%s", ref, diff)
	}
}

func TestSignaturesOfLayout(t *testing.T) {
	dir := t.TempDir()
	digest := writeUpdate(t, dir, "v1", "squash", false, nil)
	wantSignatures(t, "oci:"+dir, oci.Options{})
	addSignatures(t, "oci:"+dir, digest, simple("one"))
	addSignatures(t, "oci:"+dir+":v1", digest, simple("two"), simple("three"))

	// It is one image still, and the same one.
	checkUpdate(t, "oci:"+dir, digest, "squash")
	want := []oci.Signature{simple("one"), simple("two"), simple("three")}
	wantSignatures(t, "oci:"+dir, oci.Options{}, want...)
	wantSignatures(t, "oci:"+dir+"@"+digest, oci.Options{}, want...)

	ref, _ := oci.ParseReference("oci:" + dir)
	err := oci.AddSignatures(t.Context(), ref, digest, oci.Options{}, func(have []oci.Signature) ([]oci.Signature, error) {
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("signatures that are there (-want +got):\n%s", diff)
		}
		return nil, nil // none is missing
	})
	if err != nil {
		t.Fatal(err)
	}
	wantSignatures(t, "oci:"+dir, oci.Options{}, want...)

	other := writeUpdate(t, dir, "v2", "other", false, nil)
	wantSignatures(t, "oci:"+dir+":v2", oci.Options{})
	if other == digest {
		t.Fatal("two updates are one")
	}
	_, err = resolve(t, "oci:"+dir+":v9", oci.Options{})
	wantError(t, err, "tags are v1, v2", fault.Usage)

	archive := filepath.Join(t.TempDir(), "a.tar")
	if out, err := exec.Command("tar", "-C", dir, "-cf", archive, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	wantSignatures(t, "oci-archive:"+archive+":v1", oci.Options{}, want...)
}

func TestSignaturesInRegistry(t *testing.T) {
	s := newServer(t)
	ref := s.host + "/demo:v1"
	digest := s.image.Digest.String()
	wantSignatures(t, ref, oci.Options{})
	addSignatures(t, ref, digest, simple("one"))
	addSignatures(t, ref, digest, simple("two"))
	wantSignatures(t, ref, oci.Options{}, simple("one"), simple("two"))

	// What hangs on the platform's manifest is found through the index too,
	// and what hangs on the index.
	multi, err := resolve(t, s.host+"/demo:multi", oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	digests := multi.Digests()
	if len(digests) != 2 || digests[0] != digest || digests[1] == digest {
		t.Fatalf("Digests() = %v; want %s and the index", digests, digest)
	}
	addSignatures(t, ref, digests[1], simple("index"))
	wantSignatures(t, s.host+"/demo:multi", oci.Options{}, simple("one"), simple("two"), simple("index"))
	wantSignatures(t, s.host+"/demo:multi", oci.Options{Platform: "linux/s390x"}, simple("index"))
	wantSignatures(t, ref, oci.Options{}, simple("one"), simple("two"))

	ref9, _ := oci.ParseReference("docker-archive:x.tar")
	wantError(t, oci.AddSignatures(t.Context(), ref9, digest, oci.Options{}, nil), "has no place", fault.Usage)
}

// pushBundle makes a referrer as cosign 3 does.
func pushBundle(t *testing.T, s *server, subject v1.Descriptor, artifactType string, layers ...string) {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.MediaType(artifactType))
	for _, l := range layers {
		var err error
		if img, err = mutate.AppendLayers(img, static.NewLayer([]byte(l), types.MediaType(artifactType))); err != nil {
			t.Fatal(err)
		}
	}
	img = mutate.Subject(img, subject).(v1.Image)
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(remoteRef(t, s.host+"/demo@"+d.String()), img); err != nil {
		t.Fatal(err)
	}
}

func TestBundlesInRegistry(t *testing.T) {
	s := newServer(t)
	ref := s.host + "/demo:v1"
	pushBundle(t, s, s.image, bundleType, `{"bundle":1}`)
	pushBundle(t, s, s.image, "application/spdx+json", `{"sbom":1}`)
	addSignatures(t, ref, s.image.Digest.String(), simple("one"))
	want := []oci.Signature{simple("one"), {Bundle: []byte(`{"bundle":1}`)}}
	wantSignatures(t, ref, oci.Options{}, want...)

	pushBundle(t, s, s.image, bundleType, "a", "b")
	_, err := signatures(t, ref, oci.Options{})
	wantError(t, err, "bundle of 2 layers", fault.Verify)
}

// cosign lists its bundles under a tag without saying what they are.
func TestBundlesThatTheListDoesNotName(t *testing.T) {
	s := newServer(t)
	pushBundle(t, s, s.image, bundleType, `{"bundle":1}`)
	pushBundle(t, s, s.image, "application/spdx+json", `{"sbom":1}`)
	lists := 0
	s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		if !strings.HasSuffix(r.URL.Path, "/manifests/sha256-"+s.image.Digest.Hex) {
			inner.ServeHTTP(w, r)
			return
		}
		lists++
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
		named := regexp.MustCompile(`,?"artifactType":"[^"]*"`)
		w.Write(named.ReplaceAll(rec.Body.Bytes(), nil))
	}
	wantSignatures(t, s.host+"/demo:v1", oci.Options{}, oci.Signature{Bundle: []byte(`{"bundle":1}`)})
	if lists == 0 {
		t.Error("the list was not asked for")
	}
}

// A registry that does not answer is not one without signatures.
func TestSignaturesWhenTheRegistryFails(t *testing.T) {
	s := newServer(t)
	img, err := resolve(t, s.host+"/demo:v1", oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{".sig", "/referrers/"} {
		s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
			if strings.Contains(r.URL.Path, part) {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			inner.ServeHTTP(w, r)
		}
		_, err := img.Signatures(t.Context())
		wantError(t, err, "other credentials", fault.Network)
	}
}

// A bundle in a layout, as a copy of a registry has it.
func TestBundlesInLayout(t *testing.T) {
	l := newLayout(t)
	image := l.image(runtime.GOARCH, types.OCILayer, plain, tarOf(t, file("a", "x")))
	payload := l.blob(bundleType, []byte("bundle"))
	config := l.blob("application/vnd.oci.empty.v1+json", []byte("{}"))
	bundle := l.json(types.OCIManifestSchema1, v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: bundleType, Config: config,
		Layers: []v1.Descriptor{payload}, Subject: &image,
	})
	bundle.ArtifactType = bundleType
	dir := l.index(image, bundle)
	wantSignatures(t, "oci:"+dir, oci.Options{}, oci.Signature{Bundle: []byte("bundle")})
}

func TestSignaturesDamaged(t *testing.T) {
	layer := func(l *builder, payload []byte, sig string) v1.Descriptor {
		d := l.blob("application/vnd.dev.cosign.simplesigning.v1+json", payload)
		d.Annotations = map[string]string{"dev.cosignproject.cosign/signature": sig}
		return d
	}
	for _, tt := range []struct {
		name string
		make func(l *builder) v1.Descriptor // the image of the signatures
		want string
	}{
		{"no base64", func(l *builder) v1.Descriptor { return l.signatureImage(layer(l, []byte("p"), "%%")) }, "illegal base64"},
		{"too large", func(l *builder) v1.Descriptor {
			return l.signatureImage(layer(l, make([]byte, 300<<10), "AAAA"))
		}, "more than 262144"},
		{"payload missing", func(l *builder) v1.Descriptor {
			d := layer(l, []byte("p"), "AAAA")
			os.Remove(filepath.Join(l.dir, "blobs/sha256", d.Digest.Hex))
			return l.signatureImage(d)
		}, "is missing"},
		{"payload flipped", func(l *builder) v1.Descriptor {
			d := layer(l, []byte("p"), "AAAA")
			l.write("blobs/sha256/"+d.Digest.Hex, []byte("q"))
			return l.signatureImage(d)
		}, "has digest"},
		{"no manifest", func(l *builder) v1.Descriptor { return l.blob(types.OCIManifestSchema1, []byte("x")) }, "manifest of the signatures"},
		{"other layers only", func(l *builder) v1.Descriptor { return l.signatureImage(l.blob("text/plain", []byte("x"))) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLayout(t)
			image := l.image(runtime.GOARCH, types.OCILayer, plain, tarOf(t, file("a", "x")))
			sig := tt.make(l)
			sig.Annotations = map[string]string{"org.opencontainers.image.ref.name": "sha256-" + image.Digest.Hex + ".sig"}
			got, err := signatures(t, "oci:"+l.index(image, sig), oci.Options{})
			if tt.want == "" {
				if err != nil || len(got) != 0 {
					t.Errorf("Signatures() = %v, %v; want none", got, err)
				}
				return
			}
			wantError(t, err, tt.want, fault.Verify)
		})
	}
}

func (b *builder) signatureImage(layers ...v1.Descriptor) v1.Descriptor {
	b.t.Helper()
	return b.json(types.OCIManifestSchema1, v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: b.blob(types.OCIConfigJSON, []byte("{}")), Layers: layers,
	})
}

// The image of the signatures is what cosign writes.
func TestSignatureImage(t *testing.T) {
	dir := t.TempDir()
	digest := writeUpdate(t, dir, "v1", "squash", false, nil)
	addSignatures(t, "oci:"+dir, digest, simple("one"))
	var index v1.IndexManifest
	readJSON(t, filepath.Join(dir, "index.json"), &index)
	last := index.Manifests[len(index.Manifests)-1]
	if got, want := last.Annotations["org.opencontainers.image.ref.name"], strings.Replace(digest, ":", "-", 1)+".sig"; got != want {
		t.Errorf("tag of the signatures is %q; want %q", got, want)
	}
	var m v1.Manifest
	readJSON(t, filepath.Join(dir, "blobs/sha256", last.Digest.Hex), &m)
	if m.MediaType != types.OCIManifestSchema1 || m.Config.MediaType != types.OCIConfigJSON || len(m.Layers) != 1 {
		t.Fatalf("manifest of the signatures is %+v", m)
	}
	want := base64.StdEncoding.EncodeToString([]byte("signature one"))
	if got := m.Layers[0]; got.Annotations["dev.cosignproject.cosign/signature"] != want || got.MediaType != "application/vnd.dev.cosign.simplesigning.v1+json" {
		t.Errorf("layer is %+v; want the signature %s", got, want)
	}
	var config v1.ConfigFile
	readJSON(t, filepath.Join(dir, "blobs/sha256", m.Config.Digest.Hex), &config)
	if len(config.RootFS.DiffIDs) != 1 || config.RootFS.DiffIDs[0] != m.Layers[0].Digest {
		t.Errorf("config has diff IDs %v; want %v", config.RootFS.DiffIDs, m.Layers[0].Digest)
	}
}

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A registry that knows no referrers, and wants a password. The signatures may
// come before what they sign.
func TestSignaturesInDockerRegistry(t *testing.T) {
	dir := t.TempDir()
	users, auth := filepath.Join(dir, "htpasswd"), filepath.Join(dir, "auth.json")
	// u, p:q
	if err := os.WriteFile(users, []byte("u:$2a$04$GO/81b0b5nLM71U8gxEFdu4hNRWj.QnbE6wtoL/n.L7vuwpsPX6hW\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := dockerRegistry(t, "auth:\n  htpasswd:\n    realm: here\n    path: "+users+"\n")
	secret := base64.StdEncoding.EncodeToString([]byte("u:p:q"))
	if err := os.WriteFile(auth, []byte(`{"auths":{"`+host+`":{"auth":"`+secret+`"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	opt := oci.Options{AuthFile: auth}
	layout := t.TempDir()
	digest := writeUpdate(t, layout, "v1", "squash", false, nil)
	to, err := oci.ParseReference(host + "/os-update:v1")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		err := oci.AddSignatures(t.Context(), to, digest, opt, func([]oci.Signature) ([]oci.Signature, error) { return []oci.Signature{simple(text)}, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	local, err := oci.ParseReference("oci:" + layout + ":v1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oci.Push(t.Context(), local, to, opt); err != nil {
		t.Fatal(err)
	}
	wantSignatures(t, to.String(), opt, simple("one"), simple("two"))
	err = oci.AddSignatures(t.Context(), to, digest, oci.Options{AuthFile: filepath.Join(dir, "none.json")},
		func([]oci.Signature) ([]oci.Signature, error) { return []oci.Signature{simple("three")}, nil })
	wantError(t, err, "credentials", fault.Network)
}

// A layout on a web server carries its signatures.
func TestSignaturesOnTheWeb(t *testing.T) {
	dir := t.TempDir()
	digest := writeUpdate(t, dir, "v1", "squash", false, nil)
	addSignatures(t, "oci:"+dir, digest, simple("one"))
	base := "http://" + serve(t, dir, nil) + "/path"
	wantSignatures(t, base+":v1", oci.Options{}, simple("one"))
	wantSignatures(t, base, oci.Options{}, simple("one"))
	ref, err := oci.ParseReference(base)
	if err != nil {
		t.Fatal(err)
	}
	err = oci.AddSignatures(t.Context(), ref, digest, oci.Options{}, func([]oci.Signature) ([]oci.Signature, error) { return nil, nil })
	wantError(t, err, "has no place", fault.Usage)
}
