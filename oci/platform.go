package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// maxNesting is how deep indexes may stand inside indexes.
const maxNesting = 4

// A chooser goes from descriptors, through indexes, to one image manifest.
type chooser struct {
	ref Reference
	opt Options
	get func(context.Context, v1.Descriptor) ([]byte, error)
	// via collects the indexes that choose went through.
	via []v1.Hash
}

// choose picks one of the candidates that a reference names directly. A single
// one is taken whatever its platform: the user has named it.
func (c *chooser) choose(ctx context.Context, candidates []v1.Descriptor) (v1.Descriptor, []byte, error) {
	var zero v1.Descriptor
	want, err := c.opt.platform()
	if err != nil {
		return zero, nil, err
	}
	desc := zero
	if len(candidates) == 1 {
		desc = candidates[0]
	} else if desc, err = c.pick(want, candidates); err != nil {
		return zero, nil, err
	}
	for range maxNesting {
		doc, err := c.get(ctx, desc)
		if err != nil {
			return zero, nil, fmt.Errorf("%v: %w", c.ref, err)
		}
		index, err := parseIndex(doc)
		if err != nil {
			return zero, nil, fault.Errorf(fault.Verify, "%v: manifest %v: %w", c.ref, desc.Digest, err)
		}
		if index == nil {
			return desc, doc, nil
		}
		c.via = append(c.via, desc.Digest)
		if desc, err = c.pick(want, index.Manifests); err != nil {
			return zero, nil, err
		}
	}
	return zero, nil, fault.Errorf(fault.Verify, "%v: more than %d indexes inside each other", c.ref, maxNesting)
}

// pick finds the image for a platform in an index. One that names no platform
// is for every platform, but an exact match goes before it.
func (c *chooser) pick(want v1.Platform, descs []v1.Descriptor) (v1.Descriptor, error) {
	var anywhere []v1.Descriptor
	var names []string
	for _, d := range descs {
		switch {
		case isAttestation(d):
		case d.Platform == nil:
			anywhere = append(anywhere, d)
		case d.Platform.Satisfies(want):
			return d, nil
		default:
			names = append(names, d.Platform.String())
		}
	}
	if len(anywhere) == 1 {
		return anywhere[0], nil
	}
	if len(anywhere) > 1 {
		return v1.Descriptor{}, fault.Errorf(fault.Usage, "%v: an index of %d images that name no platform; pin one by digest", c.ref, len(anywhere))
	}
	have := "it holds none"
	if len(names) > 0 {
		have = "it has " + strings.Join(names, ", ")
	}
	return v1.Descriptor{}, fault.Errorf(fault.Refused, "%v: no image for platform %v; %s", c.ref, want, have)
}

// isAttestation tells BuildKit's provenance documents from images.
func isAttestation(d v1.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] != "" || d.Platform != nil && d.Platform.OS == "unknown"
}

// findDigest finds the image or index with the reference's digest, also inside
// of indexes, where skopeo and docker leave it.
func (c *chooser) findDigest(ctx context.Context, descs []v1.Descriptor, depth int) ([]v1.Descriptor, error) {
	for _, d := range descs {
		if d.Digest.String() == c.ref.Digest {
			return []v1.Descriptor{d}, nil
		}
	}
	for _, d := range descs {
		if !d.MediaType.IsIndex() || depth == maxNesting {
			continue
		}
		doc, err := c.get(ctx, d)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", c.ref, err)
		}
		index, err := parseIndex(doc)
		if err == nil && index == nil {
			err = errors.New("is an image manifest")
		}
		if err != nil {
			return nil, fault.Errorf(fault.Verify, "%v: index %v: %w", c.ref, d.Digest, err)
		}
		if found, err := c.findDigest(ctx, index.Manifests, depth+1); found != nil || err != nil {
			return found, err
		}
	}
	if depth > 0 {
		return nil, nil
	}
	return nil, fault.Errorf(fault.Usage, "%v: no image with this digest", c.ref)
}

// parseIndex returns the index in doc, or nil when doc is an image manifest.
// The document decides, as some registries get the media type wrong.
func parseIndex(doc []byte) (*v1.IndexManifest, error) {
	var probe struct {
		MediaType types.MediaType  `json:"mediaType"`
		Manifests *json.RawMessage `json:"manifests"`
		Layers    *json.RawMessage `json:"layers"`
		FSLayers  *json.RawMessage `json:"fsLayers"`
	}
	if err := parse(doc, &probe); err != nil {
		return nil, err
	}
	switch {
	case probe.FSLayers != nil || probe.MediaType.IsSchema1():
		return nil, fmt.Errorf("is of docker's schema 1, which is not supported")
	case probe.Manifests == nil && !probe.MediaType.IsIndex():
		return nil, nil
	case probe.Layers != nil:
		// One document must not be two things (CVE-2021-41190).
		return nil, fmt.Errorf("is both an index and an image manifest")
	}
	index := new(v1.IndexManifest)
	if err := parse(doc, index); err != nil {
		return nil, err
	}
	return index, nil
}
