package oci

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// patient is the client of those who bring none.
var patient = wire.New(wire.Options{})

func (o Options) wire() *wire.Client {
	if o.Wire != nil {
		return o.Wire
	}
	return patient
}

// plain reports whether a host may, and is to be, spoken to without TLS.
func (o Options) plain(hostport string) bool {
	return o.Insecure || isLoopback(hostport) || o.host(hostport).Insecure
}

// host returns what is special about a registry. Docker Hub has two names.
func (o Options) host(hostport string) wire.Host {
	if hostport == name.DefaultRegistry {
		if h := o.wire().Host("docker.io"); h.CA != "" || len(h.Mirrors) > 0 {
			return h
		}
	}
	return o.wire().Host(hostport)
}

// guard keeps requests off plain HTTP where nobody allowed it: the library
// itself falls back to it for every private network address.
func guard(host string, plain bool, opt Options) http.RoundTripper {
	return &guardTransport{inner: opt.wire().Once(), host: host, plain: plain, opt: opt}
}

type guardTransport struct {
	inner http.RoundTripper
	host  string
	plain bool // the host is to be spoken to without TLS
	opt   Options

	untrusted atomic.Pointer[error] // that the host's certificate is not
}

func (g *guardTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	host := req.URL.Host
	own := host == g.host
	switch {
	case req.URL.Scheme == "http" && !g.opt.plain(host) && !(own && g.plain):
		return nil, wire.Permanent(fmt.Errorf("plain HTTP to %s is not allowed without --insecure", host))
	case req.URL.Scheme == "https" && own && g.plain && !isLoopback(host):
		return nil, wire.Permanent(fmt.Errorf("%s is to be spoken to without TLS", host))
	}
	if err := g.untrusted.Load(); err != nil && own && req.URL.Scheme == "http" {
		return nil, *err
	}
	resp, err := g.inner.RoundTrip(req)
	if bad := new(tls.CertificateVerificationError); own && errors.As(err, &bad) {
		g.untrusted.Store(&err)
	}
	return resp, err
}

// endpoints are the places that have what a repository has: its mirrors, and
// itself.
func endpoints(repo name.Repository, opt Options) ([]wire.Endpoint, error) {
	var all []wire.Endpoint
	own := "/v2/" + repo.RepositoryStr() + "/"
	for _, m := range opt.host(repo.RegistryStr()).Mirrors {
		mirror, plain, err := mirrorOf(repo, m, opt)
		if err != nil {
			return nil, err
		}
		all = append(all, wire.Endpoint{
			Transport: pulling(mirror, plain, opt),
			Rewrite: func(u *url.URL) *url.URL {
				path, ok := strings.CutPrefix(u.Path, own)
				if !ok {
					return nil
				}
				return &url.URL{Scheme: mirror.Scheme(), Host: mirror.RegistryStr(), Path: "/v2/" + mirror.RepositoryStr() + "/" + path, RawQuery: u.RawQuery}
			},
		})
	}
	return append(all, wire.Endpoint{Transport: pulling(repo, opt.plain(repo.RegistryStr()), opt)}), nil
}

// mirrorOf returns what a repository is called at a mirror, and whether that
// is spoken to without TLS.
func mirrorOf(repo name.Repository, mirror string, opt Options) (name.Repository, bool, error) {
	scheme, host, path := splitMirror(mirror)
	plain := scheme == "http" || scheme == "" && opt.plain(host)
	var how []name.Option
	if plain {
		how = append(how, name.Insecure)
	}
	r, err := name.NewRepository(host+path+"/"+repo.RepositoryStr(), how...)
	if err == nil && r.RegistryStr() != host {
		err = fmt.Errorf("%q is not a registry host", host)
	}
	if err != nil {
		return r, false, fault.Errorf(fault.Usage, "mirror %q of %s: %w", mirror, repo.RegistryStr(), err)
	}
	return r, plain, nil
}

// splitMirror reads [SCHEME://]HOST[:PORT][/PATH].
func splitMirror(mirror string) (scheme, host, path string) {
	scheme, rest, ok := strings.Cut(mirror, "://")
	if !ok {
		scheme, rest = "", mirror
	}
	host, path, _ = strings.Cut(strings.TrimRight(rest, "/"), "/")
	if path != "" {
		path = "/" + path
	}
	return scheme, host, path
}

// pulling returns the way to a repository: it shakes hands when it is needed
// first, and follows redirects.
func pulling(repo name.Repository, plain bool, opt Options) http.RoundTripper {
	return opt.wire().Follow(&lazyAuth{repo: repo, opt: opt, rt: guard(repo.RegistryStr(), plain, opt)})
}

// A lazyAuth shakes hands with a registry before the first request.
type lazyAuth struct {
	repo name.Repository
	opt  Options

	mu   sync.Mutex
	rt   http.RoundTripper
	done bool // rt knows the credentials
}

func (l *lazyAuth) RoundTrip(req *http.Request) (*http.Response, error) {
	rt, err := l.login(req.Context())
	if err != nil {
		return nil, err
	}
	// The library puts credentials into the headers that it is given.
	return rt.RoundTrip(req.Clone(req.Context()))
}

func (l *lazyAuth) login(ctx context.Context) (http.RoundTripper, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return l.rt, nil
	}
	rt, err := shake(ctx, l.repo, l.opt, transport.PullScope, l.rt)
	if err != nil {
		return nil, lasting(bare(err))
	}
	l.rt, l.done = rt, true
	return rt, nil
}

// lasting marks what a registry or token server will say again.
func lasting(err error) error {
	if code := statusOf(err); code != 0 && !wire.Temporary(code) {
		return wire.Permanent(err)
	}
	return err
}

// authenticate shakes hands with the registry, and returns the transport for
// the library to push with.
func authenticate(ctx context.Context, repo name.Repository, opt Options, action string) (http.RoundTripper, error) {
	opt.Wire = opt.wire()
	return shake(ctx, repo, opt, action, opt.wire().Retry(guard(repo.RegistryStr(), opt.plain(repo.RegistryStr()), opt)))
}

// shake finds credentials and asks the registry how it wants them.
func shake(ctx context.Context, repo name.Repository, opt Options, action string, rt http.RoundTripper) (http.RoundTripper, error) {
	auth, err := authn.Resolve(ctx, opt.keychain(), repo)
	if err != nil {
		return nil, wire.Permanent(fmt.Errorf("credentials for %s: %w", repo.RegistryStr(), err))
	}
	return transport.NewWithContext(ctx, repo.Registry, auth, transport.NewUserAgent(rt, userAgent), []string{repo.Scope(action)})
}

// bare takes away what http.Client puts around an error: the caller says where.
func bare(err error) error {
	if u, ok := err.(*url.Error); ok {
		return u.Err
	}
	return err
}
