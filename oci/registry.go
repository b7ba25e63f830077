package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// userAgent is what registries see.
const userAgent = "abupdate"

// A registrySource reads blobs from one repository. They stream; what is read
// again goes through a spool.
type registrySource struct {
	repo   name.Repository
	client *http.Client // authenticated
	spool  spool
}

// resolveRegistry finds an image in a registry. An index or image fetched by
// digest, or named in an index, is compared with its digest by the library.
func resolveRegistry(ctx context.Context, ref Reference, opt Options) (*Image, error) {
	nref, err := remoteName(ref, opt)
	if err != nil {
		return nil, err
	}
	rt, err := authenticate(ctx, nref.Context(), opt, transport.PullScope)
	if err != nil {
		return nil, registryError(ref, err)
	}
	src := &registrySource{repo: nref.Context(), client: &http.Client{Transport: rt}, spool: spool{parent: opt.SpoolDir}}
	puller := []remote.Option{remote.WithContext(ctx), remote.WithTransport(rt)}
	get := func(_ context.Context, d v1.Descriptor) ([]byte, error) {
		r, err := remote.Get(nref.Context().Digest(d.Digest.String()), puller...)
		if err != nil {
			return nil, registryKind(err)
		}
		return r.Manifest, nil
	}
	root, err := remote.Get(nref, puller...)
	if err != nil {
		return nil, registryError(ref, err)
	}
	desc, doc := root.Descriptor, root.Manifest
	var indexes []v1.Hash
	index, err := parseIndex(doc)
	switch {
	case err != nil:
		return nil, fault.Errorf(fault.Verify, "%v: manifest %v: %w", ref, desc.Digest, err)
	case index != nil:
		c := chooser{ref: ref, opt: opt, get: get}
		want, err := opt.platform()
		if err != nil {
			return nil, err
		}
		if desc, err = c.pick(want, index.Manifests); err != nil {
			return nil, err
		}
		if desc, doc, err = c.choose(ctx, []v1.Descriptor{desc}); err != nil {
			return nil, err
		}
		indexes = append([]v1.Hash{root.Descriptor.Digest}, c.via...)
	}
	img, err := newImage(ctx, ref, opt, src, desc, doc)
	if err == nil {
		img.indexes = indexes
	}
	return img, err
}

// remoteName returns the library's reference, allowed plain HTTP as opt says.
func remoteName(ref Reference, opt Options) (name.Reference, error) {
	if ref.remote == nil {
		return nil, fault.Errorf(fault.Usage, "reference %v does not come from ParseReference", ref)
	}
	if opt.Insecure || isLoopback(ref.remote.Context().RegistryStr()) {
		return name.ParseReference(ref.remote.String(), name.Insecure)
	}
	return ref.remote, nil
}

// authenticate shakes hands with the registry, with the credentials that
// docker login or podman login left, and returns the transport to use.
func authenticate(ctx context.Context, repo name.Repository, opt Options, action string) (http.RoundTripper, error) {
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, repo)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", repo.RegistryStr(), err)
	}
	base := transport.NewRetry(transport.NewUserAgent(guard(repo.Registry, opt), userAgent))
	return transport.NewWithContext(ctx, repo.Registry, auth, base, []string{repo.Scope(action)})
}

// registryError names the reference and gives the failure its kind.
func registryError(ref Reference, err error) error {
	return fmt.Errorf("%v: %w", ref, registryKind(err))
}

func registryKind(err error) error {
	var te *transport.Error
	switch {
	case !errors.As(err, &te):
		// The library has no type for this one.
		if strings.Contains(err.Error(), "does not match requested digest") {
			return fault.Wrap(fault.Verify, err)
		}
	case te.StatusCode == http.StatusNotFound:
		return fault.Wrap(fault.Usage, &notFoundError{te})
	case te.StatusCode == http.StatusUnauthorized, te.StatusCode == http.StatusForbidden:
		return fault.Errorf(fault.Network, "the registry wants other credentials, or there is no such image: %w", err)
	}
	return fault.Wrap(fault.Network, err)
}

// A notFoundError says in few words what a registry says at length.
type notFoundError struct{ error }

func (e *notFoundError) Error() string { return "no such image in the registry" }
func (e *notFoundError) Unwrap() error { return e.error }

// url is where something of the repository is.
func (s *registrySource) url(path string) string {
	return fmt.Sprintf("%s://%s/v2/%s/%s", s.repo.Scheme(), s.repo.RegistryStr(), s.repo.RepositoryStr(), path)
}

func (s *registrySource) blobURL(h v1.Hash) string { return s.url("blobs/" + h.String()) }

func (s *registrySource) blob(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	return openRemote(ctx, s.client, s.blobURL(desc.Digest), desc)
}

func (s *registrySource) again(ctx context.Context, desc v1.Descriptor, count func(int64)) (io.ReadCloser, error) {
	return s.spool.open(ctx, s.client, s.blobURL(desc.Digest), desc, count)
}

func (s *registrySource) Close() error {
	s.client.CloseIdleConnections()
	return s.spool.Close()
}
