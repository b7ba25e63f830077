package oci

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/wire"
)

// insist calls change until it finds that nothing is to be changed. What several
// read, change and write back at the same time is lost in part, and a registry
// cannot write only if nobody else did: so each looks whether what it wrote is
// there, and writes it again.
func insist(ctx context.Context, c *wire.Client, change func() (done bool, err error)) error {
	lost := fault.Errorf(fault.Network, "others write to the same tag at the same time, and what was added does not stay")
	tries := c.Tries()
	for again := false; ; again = true {
		done, err := change()
		if err != nil || done {
			return err
		}
		if again && !tries.Again(ctx, lost) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return lost
		}
	}
}

// A pushTransport lets the library see of a registry that knows no referrers
// only that: it takes some ways to say so for failures, and a page for people
// for an answer.
type pushTransport struct {
	http.RoundTripper
	lacks atomic.Bool // referrers: there is a list of them under a tag
}

func (p *pushTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := p.RoundTripper.RoundTrip(req)
	if err != nil || req.Method != http.MethodGet || !strings.Contains(req.URL.Path, "/referrers/") {
		return resp, err
	}
	if knowsReferrers(resp.StatusCode, resp.Header) {
		return resp, nil
	}
	p.lacks.Store(true)
	resp.StatusCode = http.StatusNotFound
	return resp, nil
}

// isListed says whether a registry's list of an image's referrers, under a tag,
// has one.
func (s *registrySource) isListed(ctx context.Context, subject, h v1.Hash) (bool, error) {
	r, err := s.get(ctx, "manifests/"+tagOf(subject), types.OCIImageIndex)
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	index, err := parseIndex(r.doc)
	if err != nil || index == nil {
		return false, fault.Errorf(fault.Verify, "list of referrers under tag %s: is none", tagOf(subject))
	}
	for _, d := range index.Manifests {
		if d.Digest == h {
			return true, nil
		}
	}
	return false, nil
}
