package oci_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/abupdate/abupdate/oci"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// FuzzRegistry has a registry answer anything: a manifest, a list of referrers
// with more pages, and a range. Nothing of it may do more than fail, and a
// range that is read to its end has the bytes that were asked for.
func FuzzRegistry(f *testing.F) {
	config := []byte(updateConfig)
	descriptor := func(mt types.MediaType, b []byte) v1.Descriptor {
		h, n, err := v1.SHA256(bytes.NewReader(b))
		if err != nil {
			f.Fatal(err)
		}
		return v1.Descriptor{MediaType: mt, Digest: h, Size: n}
	}
	update, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: manifest.ArtifactType, Config: descriptor(manifest.ConfigMediaType, config),
		Layers: []v1.Descriptor{descriptor(manifest.SquashfsMediaType, make([]byte, 1000))},
	})
	if err != nil {
		f.Fatal(err)
	}
	self := descriptor(types.OCIManifestSchema1, update)
	list, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{self}})
	if err != nil {
		f.Fatal(err)
	}
	index := string(types.OCIImageIndex)
	f.Add(update, 200, index, `</v2/os/referrers/x?n=1>; rel="next"`, list, 206, "bytes 100-199/1000", make([]byte, 100))
	f.Add(update, 404, "", "", []byte{}, 200, "", make([]byte, 1000))
	f.Add(update, 200, "text/html", "<<<>;rel=next", []byte("{}"), 206, "bytes -1-18446744073709551615/*", []byte{})
	f.Add(update, 200, index, "<https://other.example/referrers/>; rel=next", []byte(`{"manifests":[{}]}`), 416, "bytes */0", []byte("x"))
	f.Add([]byte(`{"manifests":[]}`), 500, "", "", []byte{}, 503, "", []byte{})
	f.Fuzz(func(t *testing.T, doc []byte, listStatus int, contentType, link string, list []byte, status int, contentRange string, body []byte) {
		pages := 0
		c := wire.New(hastily(wire.Options{Base: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host != "registry.example" {
				t.Errorf("a request for %v", r.URL)
			}
			reply := func(status int, header http.Header, body []byte) (*http.Response, error) {
				return &http.Response{StatusCode: 100 + int(uint(status)%900), Header: header, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: -1, Request: r}, nil
			}
			path := r.URL.Path
			switch {
			case strings.Contains(path, "/referrers/"):
				if pages++; pages > 100 {
					t.Errorf("%d pages", pages)
				}
				return reply(listStatus-100, http.Header{"Content-Type": {contentType}, "Link": {link}}, list)
			case strings.Contains(path, "/manifests/sha256-"):
				return reply(100, http.Header{}, list)
			case strings.Contains(path, "/manifests/"):
				return reply(100, http.Header{}, doc)
			case r.Header.Get("Range") != "":
				return reply(status-100, http.Header{"Content-Range": {contentRange}}, body)
			case strings.Contains(path, "/blobs/"):
				return reply(100, http.Header{}, config)
			}
			return reply(100, http.Header{}, nil)
		})}))
		ref, err := oci.ParseReference("registry.example/os:v1")
		if err != nil {
			t.Fatal(err)
		}
		img, err := oci.Resolve(context.Background(), ref, oci.Options{Wire: c})
		if err != nil {
			mustHaveKind(t, err)
			return
		}
		defer img.Close()
		if _, err := img.Referrers(context.Background(), manifest.ArtifactType); err != nil {
			mustHaveKind(t, err)
		}
		r, err := img.Ranges(manifest.SquashfsMediaType)
		if err != nil || r.Size() < 200 {
			return
		}
		rc, err := r.Open(context.Background(), 100, 100)
		if err != nil {
			mustHaveKind(t, err)
			return
		}
		defer rc.Close()
		got, err := io.ReadAll(rc)
		if len(got) > 100 || err == nil && len(got) != 100 {
			t.Errorf("read %d bytes of a range of 100, error %v", len(got), err)
		}
		if err != nil {
			mustHaveKind(t, err)
		}
	})
}

// mustHaveKind is for errors that a registry causes: each has an exit code.
func mustHaveKind(t *testing.T, err error) {
	t.Helper()
	switch kind := fault.KindOf(err); kind {
	case fault.Usage, fault.Network, fault.Verify, fault.Refused:
	default:
		t.Errorf("error %v has kind %d", err, kind)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error of several lines: %v", err)
	}
}
