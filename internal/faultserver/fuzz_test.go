package faultserver_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/fault"
	fs "github.com/abupdate/abupdate/internal/faultserver"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/abupdate/abupdate/oci"
)

// A handlerTransport answers without a network.
type handlerTransport struct{ http.Handler }

func (h handlerTransport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler {
				panic(p)
			}
			resp, err = nil, errors.New("the connection broke")
		}
	}()
	if r.URL.Scheme != "http" {
		return nil, http.ErrSchemeMismatch // what a server without TLS looks like
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

// FuzzAnswers has a registry say what no registry should: whatever it says, an
// update is found or there is an error of a kind, and soon.
func FuzzAnswers(f *testing.F) {
	s := newSiteTB(f)
	const challenge = `Bearer realm="http://127.0.0.1:5000/token",service="x"`
	index := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"digest":"` + s.digest + `","size":1,"artifactType":"` + manifest.ArtifactType + `","platform":{"os":"linux","architecture":"amd64"}}]}`
	doc := string(s.manifest)
	f.Add(challenge, `{"token":"token-1"}`, doc, index, doc, uint16(200))
	f.Add(challenge, `{"access_token":"token-1","expires_in":-1}`, index, "{}", "{}", uint16(206))
	f.Add(`Basic realm="x"`, "[]", "null", "null", index, uint16(302))
	f.Add(`Bearer realm="://",scope=`, `{"token":""}`, `{"manifests":[{}]}`, doc, `{"layers":[{"annotations":null}]}`, uint16(429))
	f.Add("Negotiate", "", `{"layers":[{"size":-1}],"config":{}}`, index+index, doc+"x", uint16(416))
	f.Fuzz(func(t *testing.T, challenge, token, doc, referrers, signatures string, status uint16) {
		server := fs.New(s.dir)
		server.WantToken("", "")
		server.Set(
			func(_ *fs.Request, a *fs.Answer) {
				if a.Header.Get("WWW-Authenticate") != "" {
					a.Header.Set("WWW-Authenticate", challenge)
				}
			},
			fs.On(fs.Replace([]byte(token)), fs.Token), fs.On(fs.Replace([]byte(doc)), fs.Manifest),
			fs.On(fs.Replace([]byte(referrers)), fs.Referrers), fs.On(fs.Replace([]byte(signatures)), fs.SigManifest),
			fs.On(fs.Times(2, func(_ *fs.Request, a *fs.Answer) { a.Status = 200 + int(status%400) }), fs.Config, fs.Tree),
		)
		now := time.Unix(0, 0)
		w := wire.New(wire.Options{Base: handlerTransport{server}, Now: func() time.Time { return now }, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
		resolveFuzzed(t, w)
		if n := server.Total().Requests; n > 200 {
			t.Errorf("%d requests", n)
		}
	})
}

func resolveFuzzed(t *testing.T, w *wire.Client) {
	t.Helper()
	ref, err := oci.ParseReference("127.0.0.1:5000/os:v1")
	if err != nil {
		t.Fatal(err)
	}
	kind := func(what string, err error) bool {
		if k := fault.KindOf(err); k == fault.Other || k == fault.Canceled {
			t.Errorf("%s: %v has kind %d", what, err, k)
		}
		return err == nil
	}
	img, err := oci.Resolve(t.Context(), ref, oci.Options{Wire: w, Platform: "linux/amd64", AuthFile: "/nonexistent"})
	if !kind("Resolve", err) {
		return
	}
	defer img.Close()
	_, err = img.Signatures(t.Context())
	kind("Signatures", err)
	found, err := img.Referrers(t.Context(), manifest.ArtifactType)
	if kind("Referrers", err) && len(found) > 0 {
		sibling, err := img.Sibling(t.Context(), found[0])
		if kind("Sibling", err) {
			sibling.Close()
		}
	}
	if !img.IsUpdate() {
		return
	}
	if _, err := img.UpdateConfig(); !kind("UpdateConfig", err) {
		return
	}
	r, err := img.Ranges(manifest.TreeMediaType)
	if kind("Ranges", err) && r.Size() > 1 {
		rc, err := r.Open(t.Context(), 1, 1)
		if kind("Open", err) {
			rc.Close()
		}
	}
}
