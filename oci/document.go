package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// manifestTypes is what a manifest may be.
var manifestTypes = []types.MediaType{
	types.OCIManifestSchema1, types.OCIImageIndex, types.DockerManifestSchema2, types.DockerManifestList,
}

// A reply is a small answer of a registry. What it says is not checked.
type reply struct {
	doc       []byte
	mediaType types.MediaType
	next      string // path of the rest, when it is a list
}

// get fetches a small document of the repository.
func (s *registrySource) get(ctx context.Context, path string, accept ...types.MediaType) (*reply, error) {
	return s.getRight(ctx, path, isJSON, accept...)
}

// isJSON is all that is known of a document without a digest.
func isJSON(doc []byte) error {
	if !json.Valid(doc) {
		return errors.New("is not JSON")
	}
	return nil
}

// has says of a document whether its digest is h.
func has(h v1.Hash) func(doc []byte) error {
	return func(doc []byte) error {
		if got := describe("", doc).Digest; got != h {
			return fault.Errorf(fault.Verify, "its content has digest %v, which does not match", got)
		}
		return nil
	}
}

// getRight asks the next mirror for what is not right.
func (s *registrySource) getRight(ctx context.Context, path string, right func(doc []byte) error, accept ...types.MediaType) (*reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url(path), nil)
	if err != nil {
		return nil, err
	}
	for _, mt := range accept {
		req.Header.Add("Accept", string(mt))
	}
	resp, doc, err := s.route().document(req, path, func(resp *http.Response) error {
		return registryKind(transport.CheckError(resp, http.StatusOK))
	}, right)
	if err != nil {
		return nil, err
	}
	r := &reply{doc: doc, next: nextPage(resp)}
	if mt, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err == nil {
		r.mediaType = types.MediaType(mt)
	}
	return r, nil
}

// document fetches a small document, and again when the connection breaks in
// it, or somebody else may have what passes right; in the end it may not. Check
// looks at the answer's head.
func (r route) document(req *http.Request, name string, check func(*http.Response) error, right func(doc []byte) error) (*http.Response, []byte, error) {
	tries := r.wire.Tries()
	req = req.WithContext(wire.WithTries(req.Context(), tries))
	for {
		resp, err := r.client.Do(req)
		if err != nil {
			return nil, nil, registryKind(bare(err))
		}
		if err := check(resp); err != nil {
			resp.Body.Close()
			return nil, nil, err
		}
		doc, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
		resp.Body.Close()
		switch {
		case len(doc) > maxDocument:
			return nil, nil, fault.Errorf(fault.Verify, "%s has more than %d bytes", name, maxDocument)
		case err == nil:
			if err := right(doc); err != nil && tries.Distrust(req.Context(), err) {
				continue
			}
			return resp, doc, nil
		}
		err = fault.Errorf(fault.Network, "reading %s: transfer broke at byte %d: %w", name, len(doc), err)
		if !tries.Again(req.Context(), err) {
			return nil, nil, err
		}
	}
}

// nextPage returns where the rest of a list is, below the repository, or "".
func nextPage(resp *http.Response) string {
	for _, link := range resp.Header.Values("Link") {
		target, attrs, ok := strings.Cut(link, ">")
		target, begins := strings.CutPrefix(strings.TrimSpace(target), "<")
		if !ok || !begins || !strings.Contains(attrs, `rel="next"`) && !strings.Contains(attrs, "rel=next") {
			continue
		}
		u, err := resp.Request.URL.Parse(target)
		if err != nil {
			continue
		}
		if _, path, ok := strings.Cut(u.RequestURI(), "/referrers/"); ok {
			return "referrers/" + path
		}
	}
	return ""
}

// root fetches the manifest or index that a reference names.
func (s *registrySource) root(ctx context.Context, nref name.Reference) (v1.Descriptor, []byte, error) {
	right := isJSON
	if _, pinned := nref.(name.Digest); pinned {
		h, err := v1.NewHash(nref.Identifier())
		if err != nil {
			return v1.Descriptor{}, nil, fault.Wrap(fault.Usage, err)
		}
		right = has(h)
	}
	r, err := s.getRight(ctx, "manifests/"+nref.Identifier(), right, manifestTypes...)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	desc := describe(r.mediaType, r.doc)
	if _, pinned := nref.(name.Digest); pinned {
		err = right(r.doc)
	}
	return desc, r.doc, err
}

// manifest fetches a manifest that another one names.
func (s *registrySource) manifest(ctx context.Context, desc v1.Descriptor) ([]byte, error) {
	r, err := s.getRight(ctx, "manifests/"+desc.Digest.String(), has(desc.Digest), manifestTypes...)
	if isNotFound(err) {
		return nil, fault.Errorf(fault.Verify, "manifest %v is missing in the registry", desc.Digest)
	}
	if err != nil {
		return nil, err
	}
	if err := has(desc.Digest)(r.doc); err != nil {
		return nil, fmt.Errorf("manifest %v: %w", desc.Digest, err)
	}
	return r.doc, nil
}

func (s *registrySource) another() source {
	return &registrySource{repo: s.repo, wire: s.wire, client: s.client, spool: spool{parent: s.spool.parent}}
}

// isNotFound tells that a registry has no such document.
func isNotFound(err error) bool { return statusOf(err) == http.StatusNotFound }

// knowsReferrers tells from an answer whether a registry has the API, or may
// have: they differ in how they say that they have not.
func knowsReferrers(status int, h http.Header) bool {
	switch status {
	case http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusNotImplemented:
		return false
	case http.StatusOK: // or a page for people
		mt, _, err := mime.ParseMediaType(h.Get("Content-Type"))
		return err == nil && types.MediaType(mt) == types.OCIImageIndex
	}
	return true
}

// statusOf returns the status of the answer that err tells of, or 0.
func statusOf(err error) int {
	var te *transport.Error
	if errors.As(err, &te) {
		return te.StatusCode
	}
	return 0
}

// tagOf is how a digest is spelled in a tag.
func tagOf(h v1.Hash) string { return strings.Replace(h.String(), ":", "-", 1) }
