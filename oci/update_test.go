package oci_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const updateConfig = `{"format":1,"architecture":"arm64","version":"1"}`

// writeUpdate makes an update of the given contents in dir.
func writeUpdate(t *testing.T, dir, tag, squashfs string, take bool, subject *v1.Descriptor) string {
	t.Helper()
	tmp := t.TempDir()
	image, tree := filepath.Join(tmp, "image"), filepath.Join(tmp, "tree")
	for name, content := range map[string]string{image: squashfs, tree: "tree of " + squashfs} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	digest, err := oci.WriteUpdate(context.Background(), dir, tag, oci.Update{
		Config: []byte(updateConfig), Architecture: "arm64",
		Squashfs: oci.UpdateFile{Path: image, Take: take}, Tree: oci.UpdateFile{Path: tree},
		Annotations: map[string]string{"org.opencontainers.image.version": "1"}, Subject: subject,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(image); os.IsNotExist(err) != take {
		t.Errorf("source file after WriteUpdate: %v; taken should be %v", err, take)
	}
	return digest
}

func checkUpdate(t *testing.T, ref, digest, squashfs string) {
	t.Helper()
	img, err := resolve(t, ref, oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.UpdateConfig()
	if err != nil || string(config) != updateConfig || !img.IsUpdate() || img.Architecture() != "arm64" || img.Digest() != digest {
		t.Errorf("%s: config %q, %v, update %v, architecture %q, digest %s; want digest %s", ref, config, err, img.IsUpdate(), img.Architecture(), img.Digest(), digest)
	}
	for mt, want := range map[string]string{manifest.SquashfsMediaType: squashfs, manifest.TreeMediaType: "tree of " + squashfs} {
		rc, size, err := img.Blob(context.Background(), mt)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rc)
		if err != nil || string(got) != want || size != int64(len(want)) {
			t.Errorf("%s: blob of type %s has %d bytes (size %d), error %v; want %d", ref, mt, len(got), size, err, len(want))
		}
		rc.Close()
	}
	_, _, err = img.Blob(context.Background(), "application/x")
	wantError(t, err, "has 0 layers of type application/x", fault.Verify)
	_, err = oci.Read(context.Background(), img, nil)
	wantError(t, err, "is an update", fault.Usage)
}

func TestWriteUpdate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new/layout")
	a := writeUpdate(t, dir, "v1", strings.Repeat("hsqs", 100000), false, nil)
	checkUpdate(t, "oci:"+dir, a, strings.Repeat("hsqs", 100000))
	if again := writeUpdate(t, dir, "v1", strings.Repeat("hsqs", 100000), true, nil); again != a {
		t.Errorf("the same update again has digest %s; want %s", again, a)
	}
	b := writeUpdate(t, dir, "v2", "other", true, &v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: 3, Digest: v1.Hash{Algorithm: "sha256", Hex: digestA[7:]}})
	checkUpdate(t, "oci:"+dir+":v2", b, "other")
	checkUpdate(t, "oci:"+dir+":v1", a, strings.Repeat("hsqs", 100000))
	c := writeUpdate(t, dir, "v2", "third", false, nil)
	checkUpdate(t, "oci:"+dir+":v2", c, "third")
	_, err := resolve(t, "oci:"+dir+"@"+b, oci.Options{})
	wantError(t, err, "no image with this digest", fault.Usage)
	path, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	index, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 2 {
		t.Fatalf("index.json has %d images, error %v; want 2", len(m.Manifests), err)
	}
	if d := m.Manifests[0]; d.ArtifactType != manifest.ArtifactType || d.Platform.Architecture != "arm64" {
		t.Errorf("descriptor in index.json is %+v", d)
	}
	if err := validate.Index(index, validate.Fast); err != nil {
		t.Errorf("validating the layout: %v", err)
	}
	for _, e := range readDir(t, filepath.Join(dir, "blobs/sha256")) {
		b, err := os.ReadFile(filepath.Join(dir, "blobs/sha256", e.Name()))
		if err != nil || digestOf(b) != e.Name() {
			t.Errorf("blob %s: error %v or wrong name", e.Name(), err)
		}
		if info, err := e.Info(); err != nil || info.Mode() != 0o644 {
			t.Errorf("blob %s: mode %v, error %v; want 0644", e.Name(), info.Mode(), err)
		}
	}
}

func TestUpdateFlipped(t *testing.T) {
	dir := t.TempDir()
	writeUpdate(t, dir, "", "squash", false, nil)
	name := filepath.Join(dir, "blobs/sha256", digestOf([]byte("squash")))
	if err := os.WriteFile(name, []byte("sqXash"), 0o644); err != nil {
		t.Fatal(err)
	}
	img, err := resolve(t, "oci:"+dir, oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rc, _, err := img.Blob(context.Background(), manifest.SquashfsMediaType)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	_, err = io.ReadAll(rc)
	wantError(t, err, "its content has digest", fault.Verify)
}

func TestPush(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	content := strings.Repeat("0123456789", 200000)
	digest := writeUpdate(t, dir, "v1", content, true, &s.image)
	local, err := oci.ParseReference("oci:" + dir + ":v1")
	if err != nil {
		t.Fatal(err)
	}
	to, err := oci.ParseReference(s.host + "/demo:update")
	if err != nil {
		t.Fatal(err)
	}
	got, err := oci.Push(context.Background(), local, to, oci.Options{})
	if err != nil || got != digest {
		t.Fatalf("Push = %s, %v; want %s", got, err, digest)
	}
	checkUpdate(t, to.String(), digest, content)
	checkUpdate(t, "docker://"+s.host+"/demo@"+digest, digest, content)

	subject := remoteRef(t, s.host+"/demo@"+s.image.Digest.String()).(name.Digest)
	index, err := remote.Referrers(subject)
	if err != nil {
		t.Fatal(err)
	}
	refs, err := index.IndexManifest()
	if err != nil || len(refs.Manifests) != 1 || refs.Manifests[0].Digest.String() != digest {
		t.Errorf("referrers of the image are %+v, %v; want %s", refs, err, digest)
	}

	_, err = oci.Push(context.Background(), local, local, oci.Options{})
	wantError(t, err, "is not in a registry", fault.Usage)
	_, err = oci.Push(context.Background(), to, to, oci.Options{})
	wantError(t, err, "is in a registry already", fault.Usage)
	_, err = oci.Push(context.Background(), local, to.WithDigest(digest), oci.Options{})
	wantError(t, err, "give a tag", fault.Usage)
}

// TestBlobResumes breaks the stream of an update's blob several times.
func TestBlobResumes(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	content := strings.Repeat("0123456789", 200000)
	digest := writeUpdate(t, dir, "v1", content, true, nil)
	local, _ := oci.ParseReference("oci:" + dir + ":v1")
	to, _ := oci.ParseReference(s.host + "/demo:update")
	if _, err := oci.Push(context.Background(), local, to, oci.Options{}); err != nil {
		t.Fatal(err)
	}
	var ranges []string
	s.door = func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, digestOf([]byte(content))) {
			inner.ServeHTTP(w, r)
			return
		}
		ranges = append(ranges, r.Header.Get("Range"))
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		if len(ranges) < 4 {
			w = &cutter{w, 300000}
		}
		_, _ = io.Copy(w, bytes.NewReader(rec.Body.Bytes()))
	}
	checkUpdate(t, to.String(), digest, content)
	if len(ranges) != 4 || ranges[0] != "" || !strings.HasSuffix(ranges[3], "-1999999") {
		t.Errorf("ranges asked for: %q", ranges)
	}
}
