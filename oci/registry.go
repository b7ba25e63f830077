package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// userAgent is what registries see.
const userAgent = "abupdate"

// A registrySource reads blobs from one repository. They stream; what is read
// again goes through a spool.
type registrySource struct {
	repo   name.Repository
	wire   *wire.Client
	client *http.Client // authenticated, follows redirects and tries again
	spool  spool
}

// newRegistrySource makes no request yet.
func newRegistrySource(repo name.Repository, opt Options) (*registrySource, error) {
	opt.Wire = opt.wire() // one for all
	places, err := endpoints(repo, opt)
	if err != nil {
		return nil, err
	}
	return sourceAt(repo, opt, places), nil
}

// newOriginal is newRegistrySource of the registry itself, for who reads what is
// to be changed there: a mirror may be behind.
func newOriginal(repo name.Repository, opt Options) (*registrySource, error) {
	opt.Wire = opt.wire()
	places, err := endpoints(repo, opt)
	if err != nil {
		return nil, err
	}
	return sourceAt(repo, opt, places[len(places)-1:]), nil
}

func sourceAt(repo name.Repository, opt Options, places []wire.Endpoint) *registrySource {
	c := opt.Wire
	client := &http.Client{Transport: c.Retry(wire.Chain(places...))}
	return &registrySource{repo: repo, wire: c, client: client, spool: spool{parent: opt.SpoolDir}}
}

// resolveRegistry finds an image in a registry. An index or image fetched by
// digest, or named in an index, is compared with its digest.
func resolveRegistry(ctx context.Context, ref Reference, opt Options) (*Image, error) {
	nref, err := remoteName(ref, opt)
	if err != nil {
		return nil, err
	}
	src, err := newRegistrySource(nref.Context(), opt)
	if err != nil {
		return nil, err
	}
	desc, doc, err := src.root(ctx, nref)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", ref, err)
	}
	var indexes []v1.Hash
	index, err := parseIndex(doc)
	switch {
	case err != nil:
		return nil, fault.Errorf(fault.Verify, "%v: manifest %v: %w", ref, desc.Digest, err)
	case index != nil:
		c := chooser{ref: ref, opt: opt, get: src.manifest}
		want, err := opt.platform()
		if err != nil {
			return nil, err
		}
		root := desc.Digest
		if desc, err = c.pick(want, index.Manifests); err != nil {
			return nil, err
		}
		if desc, doc, err = c.choose(ctx, []v1.Descriptor{desc}); err != nil {
			return nil, err
		}
		indexes = append([]v1.Hash{root}, c.via...)
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
	if opt.plain(ref.remote.Context().RegistryStr()) {
		return name.ParseReference(ref.remote.String(), name.Insecure)
	}
	return ref.remote, nil
}

// registryError names the reference and gives the failure its kind.
func registryError(ref Reference, err error) error {
	return fmt.Errorf("%v: %w", ref, registryKind(err))
}

func registryKind(err error) error {
	var te *transport.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &te):
	case te.StatusCode == http.StatusNotFound:
		return fault.Wrap(fault.Usage, &answerError{te, "no such image in the registry"})
	case te.StatusCode == http.StatusUnauthorized, te.StatusCode == http.StatusForbidden:
		return fault.Wrap(fault.Network, &answerError{te, "the registry wants other credentials, or there is no such image: " + answered(te)})
	default:
		return fault.Wrap(fault.Network, &answerError{te, answered(te)})
	}
	return fault.Wrap(fault.Network, err)
}

// An answerError says in few words what a registry says at length: its answer
// may be a page for people.
type answerError struct {
	error
	text string
}

func (e *answerError) Error() string { return e.text }
func (e *answerError) Unwrap() error { return e.error }

// answered tells of an answer: what was asked for, and what the registry gives
// as its reason.
func answered(te *transport.Error) string {
	var b strings.Builder
	if r := te.Request; r != nil {
		fmt.Fprintf(&b, "%s %s%s: ", r.Method, r.URL.Host, r.URL.Path)
	}
	fmt.Fprintf(&b, "the registry answers %d", te.StatusCode)
	if text := http.StatusText(te.StatusCode); text != "" {
		b.WriteString(" " + text)
	}
	if len(te.Errors) > 0 {
		b.WriteString(": " + string(te.Errors[0].Code) + " " + te.Errors[0].Message)
	}
	return readable(b.String())
}

// maxText bounds what a registry may have us print.
const maxText = 400

// readable is s in one line, and not for ever.
func readable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "")
}

// url is where something of the repository is.
func (s *registrySource) url(path string) string {
	return fmt.Sprintf("%s://%s/v2/%s/%s", s.repo.Scheme(), s.repo.RegistryStr(), s.repo.RepositoryStr(), path)
}

func (s *registrySource) blobURL(h v1.Hash) string { return s.url("blobs/" + h.String()) }

func (s *registrySource) route() route { return route{s.wire, s.client, "registry"} }

func (s *registrySource) blob(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	return openRemote(ctx, s.route(), s.blobURL(desc.Digest), desc)
}

func (s *registrySource) again(ctx context.Context, desc v1.Descriptor, count func(int64)) (io.ReadCloser, error) {
	return s.spool.open(ctx, s.route(), s.blobURL(desc.Digest), desc, count)
}

func (s *registrySource) Close() error {
	s.client.CloseIdleConnections()
	return s.spool.Close()
}
