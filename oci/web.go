package oci

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A webSource reads an OCI image layout that a web server has.
type webSource struct {
	base   string // URL of the layout's directory, without a slash at its end
	wire   *wire.Client
	client *http.Client
	spool  spool
	seen   *webSeen
}

// A webSeen is what was fetched of a layout and is needed again: its images
// share it, and see one state of index.json.
type webSeen struct {
	mu    sync.Mutex
	index *v1.IndexManifest
	docs  map[v1.Hash][]byte
}

// Bounds of what is kept of a layout, in manifests and bytes of each.
const (
	maxSeen      = 64
	maxSeenBytes = 64 << 10
)

// resolveWeb finds an image in a layout on a web server.
func resolveWeb(ctx context.Context, ref Reference, opt Options) (*Image, error) {
	opt.Wire = opt.wire()
	base, err := url.Parse(string(ref.Transport) + "://" + ref.Path)
	if err != nil {
		return nil, fault.Errorf(fault.Usage, "image reference %v: %w", ref, err)
	}
	client := &http.Client{Transport: opt.Wire.Retry(wire.Chain(webEndpoints(base, opt)...))}
	src := &webSource{base: base.String(), wire: opt.Wire, client: client, spool: spool{parent: opt.SpoolDir}, seen: &webSeen{docs: map[v1.Hash][]byte{}}}
	return resolveShelf(ctx, ref, opt, src)
}

// webEndpoints are the servers that have a layout: mirrors, and its own.
func webEndpoints(base *url.URL, opt Options) []wire.Endpoint {
	var all []wire.Endpoint
	for _, m := range opt.host(base.Host).Mirrors {
		scheme, host, path := splitMirror(m)
		if scheme == "" {
			scheme = "https"
			if opt.Insecure || opt.host(host).Insecure {
				scheme = "http"
			}
		}
		all = append(all, wire.Endpoint{
			Transport: fetching(host, path+base.Path, scheme == "http", opt),
			Rewrite: func(u *url.URL) *url.URL {
				return &url.URL{Scheme: scheme, Host: host, Path: path + u.Path}
			},
		})
	}
	return append(all, wire.Endpoint{Transport: fetching(base.Host, base.Path, base.Scheme == "http" && opt.plain(base.Host), opt)})
}

// fetching returns the way to a web server, with the credentials for it.
func fetching(host, path string, plain bool, opt Options) http.RoundTripper {
	return opt.wire().Follow(&webAuth{host: host, path: path, opt: opt, inner: guard(host, plain, opt)})
}

// A webAuth adds credentials to what goes to their host.
type webAuth struct {
	host, path string
	opt        Options
	inner      http.RoundTripper
}

func (w *webAuth) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", userAgent)
	if req.URL.Host != w.host {
		return w.inner.RoundTrip(req)
	}
	auth, err := authn.Resolve(req.Context(), w.opt.keychain(), w)
	if err == nil {
		var c *authn.AuthConfig
		if c, err = authn.Authorization(req.Context(), auth); err == nil {
			setCredentials(req.Header, c)
		}
	}
	if err != nil {
		return nil, wire.Permanent(fmt.Errorf("credentials for %s: %w", w.host, err))
	}
	return w.inner.RoundTrip(req)
}

// String and RegistryStr implement authn.Resource.
func (w *webAuth) String() string      { return w.host + w.path }
func (w *webAuth) RegistryStr() string { return w.host }

func setCredentials(h http.Header, c *authn.AuthConfig) {
	switch {
	case c.RegistryToken != "":
		h.Set("Authorization", "Bearer "+c.RegistryToken)
	case c.Username != "":
		r := http.Request{Header: h}
		r.SetBasicAuth(c.Username, c.Password)
	}
}

func (s *webSource) index(ctx context.Context) (*v1.IndexManifest, error) {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	if s.seen.index != nil {
		return s.seen.index, nil
	}
	index, err := s.fetchIndex(ctx)
	s.seen.index = index
	return index, err
}

// fetchIndex keeps to no proxy's copy: index.json is what changes.
func (s *webSource) fetchIndex(ctx context.Context) (*v1.IndexManifest, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/index.json", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Cache-Control", "no-cache")
	_, raw, err := s.route().document(req, "index.json", checkIndex, isJSON)
	if err != nil {
		return nil, err
	}
	return parseLayoutIndex(raw)
}

func checkIndex(resp *http.Response) error {
	switch code := resp.StatusCode; code {
	case http.StatusOK:
		return nil
	case http.StatusNotFound, http.StatusGone:
		return fault.Errorf(fault.Usage, "is not an OCI image layout: the server has no index.json there")
	case http.StatusUnauthorized, http.StatusForbidden:
		return fault.Errorf(fault.Network, "the server wants other credentials: it answers %d %s", code, http.StatusText(code))
	default:
		return fault.Errorf(fault.Network, "index.json: the server answers %d %s", code, http.StatusText(code))
	}
}

func (s *webSource) route() route { return route{s.wire, s.client, "layout"} }

func (s *webSource) url(desc v1.Descriptor) string { return s.base + "/" + blobName(desc.Digest) }

func (s *webSource) blob(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	return openRemote(ctx, s.route(), s.url(desc), desc)
}

func (s *webSource) again(ctx context.Context, desc v1.Descriptor, count func(int64)) (io.ReadCloser, error) {
	return s.spool.open(ctx, s.route(), s.url(desc), desc, count)
}

func (s *webSource) piece(ctx context.Context, desc v1.Descriptor, off, n int64) (io.ReadCloser, error) {
	return openRemotePiece(ctx, s.route(), s.url(desc), desc, off, n)
}

func (s *webSource) referrers(ctx context.Context, h v1.Hash, artifactType string) ([]v1.Descriptor, error) {
	return shelfReferrers(ctx, s, h, artifactType)
}

func (s *webSource) manifest(ctx context.Context, desc v1.Descriptor) ([]byte, error) {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	if doc := s.seen.docs[desc.Digest]; doc != nil {
		return doc, nil
	}
	doc, err := document(ctx, s, desc)
	if err == nil && len(doc) <= maxSeenBytes && len(s.seen.docs) < maxSeen {
		s.seen.docs[desc.Digest] = doc
	}
	return doc, err
}

func (s *webSource) another() source {
	return &webSource{base: s.base, wire: s.wire, client: s.client, spool: spool{parent: s.spool.parent}, seen: s.seen}
}

func (s *webSource) Close() error {
	s.client.CloseIdleConnections()
	return s.spool.Close()
}
