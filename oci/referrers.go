package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A neighbourhood is a source that holds other manifests besides an image's
// own.
type neighbourhood interface {
	// referrers returns the manifests whose subject is h and, where the source
	// can tell, whose type is artifactType ("" for all).
	referrers(ctx context.Context, h v1.Hash, artifactType string) ([]v1.Descriptor, error)
	// manifest fetches a manifest, its digest checked.
	manifest(ctx context.Context, desc v1.Descriptor) ([]byte, error)
	// another returns the same source for one more Image, to be closed by it.
	another() source
}

// Referrers returns the manifests in the same repository or layout whose
// subject is this image, and whose artifact type is the given one; "" is any.
// Annotations are those of the manifests. None is no error.
func (img *Image) Referrers(ctx context.Context, artifactType string) ([]v1.Descriptor, error) {
	src, ok := img.src.(neighbourhood)
	if !ok { // a docker-archive has no place for them
		return nil, nil
	}
	all, err := src.referrers(ctx, img.descriptor.Digest, artifactType)
	if err != nil {
		return nil, fmt.Errorf("%v: looking for referrers: %w", img.ref, err)
	}
	var found []v1.Descriptor
	for _, d := range all {
		if d.ArtifactType == manifest.ConfigMediaType {
			d.ArtifactType = manifest.ArtifactType // of a registry that looks at configs
		}
		if artifactType == "" || d.ArtifactType == artifactType {
			found = append(found, d)
		}
	}
	return found, nil
}

// Sibling returns another manifest of the same repository or layout as an
// Image of its own, which the caller closes, before or after this one.
func (img *Image) Sibling(ctx context.Context, desc v1.Descriptor) (*Image, error) {
	src, ok := img.src.(neighbourhood)
	if !ok {
		return nil, fault.Errorf(fault.Usage, "%v: a docker-archive has no manifest %v", img.ref, desc.Digest)
	}
	doc, err := src.manifest(ctx, desc)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", img.ref, err)
	}
	own := src.another()
	sibling, err := newImage(ctx, img.ref.WithDigest(desc.Digest.String()), img.opt, own, desc, doc)
	if err != nil {
		return nil, errors.Join(err, own.Close())
	}
	return sibling, nil
}

// A referrer is what a manifest says of its place among referrers.
type referrer struct {
	ArtifactType string            `json:"artifactType"`
	Config       v1.Descriptor     `json:"config"`
	Subject      *v1.Descriptor    `json:"subject"`
	Annotations  map[string]string `json:"annotations"`
}

func (s layoutSource) referrers(ctx context.Context, h v1.Hash, artifactType string) ([]v1.Descriptor, error) {
	return shelfReferrers(ctx, s, h, artifactType)
}

// shelfReferrers reads the manifests in index.json: their descriptors there do
// not tell of subjects.
func shelfReferrers(ctx context.Context, src shelf, h v1.Hash, artifactType string) ([]v1.Descriptor, error) {
	index, err := src.index(ctx)
	if err != nil {
		return nil, err
	}
	var found []v1.Descriptor
	for _, d := range index.Manifests {
		if d.Digest == h || artifactType != "" && d.ArtifactType != "" && d.ArtifactType != artifactType {
			continue
		}
		doc, err := src.manifest(ctx, d)
		if err != nil {
			return nil, err
		}
		var r referrer
		if err := parse(doc, &r); err != nil {
			return nil, fault.Errorf(fault.Verify, "manifest %v: %w", d.Digest, err)
		}
		if r.Subject == nil || r.Subject.Digest != h {
			continue
		}
		if d.ArtifactType = r.ArtifactType; d.ArtifactType == "" {
			d.ArtifactType = string(r.Config.MediaType)
		}
		d.Annotations = r.Annotations
		found = append(found, d)
	}
	return found, nil
}

// index reads index.json.
func (s layoutSource) index(context.Context) (*v1.IndexManifest, error) {
	raw, err := readSmall(s.files, "index.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Errorf(fault.Usage, "is not an OCI image layout: it holds no index.json")
	}
	if err != nil {
		return nil, fmt.Errorf("reading index.json: %w", err)
	}
	return parseLayoutIndex(raw)
}

func parseLayoutIndex(raw []byte) (*v1.IndexManifest, error) {
	index := new(v1.IndexManifest)
	if err := parse(raw, index); err != nil {
		return nil, fault.Errorf(fault.Verify, "index.json: %w", err)
	}
	return index, nil
}

func (s layoutSource) manifest(ctx context.Context, desc v1.Descriptor) ([]byte, error) {
	return document(ctx, s, desc)
}

func (s layoutSource) another() source {
	if f, ok := s.files.(interface{ share() }); ok {
		f.share()
	}
	return s
}

// Bounds of a list of referrers.
const (
	maxPages     = 64
	maxReferrers = 16 << 10
)

// referrers asks the registry's API, and where it has none takes the list that
// pushers keep under a tag. The API is not told of the artifact type: some
// registries know that of the config only.
func (s *registrySource) referrers(ctx context.Context, h v1.Hash, _ string) ([]v1.Descriptor, error) {
	var all []v1.Descriptor
	path := "referrers/" + h.String()
	for range maxPages {
		r, err := s.get(ctx, path, types.OCIImageIndex)
		if len(all) == 0 && !knows(r, err) {
			r, err = s.get(ctx, "manifests/"+tagOf(h), types.OCIImageIndex)
			if isNotFound(err) {
				return nil, nil
			}
		}
		if err != nil {
			return nil, err
		}
		index, err := parseIndex(r.doc)
		if err == nil && index == nil {
			err = errors.New("is an image manifest")
		}
		if err != nil {
			return nil, fault.Errorf(fault.Verify, "list of referrers: %w", err)
		}
		if len(all)+len(index.Manifests) > maxReferrers {
			return nil, fault.Errorf(fault.Refused, "list of referrers: more than %d", maxReferrers)
		}
		all = append(all, index.Manifests...)
		if path = r.next; path == "" {
			return all, nil
		}
	}
	return nil, fault.Errorf(fault.Refused, "list of referrers: more than %d pages", maxPages)
}

// knows says whether a registry answered as one with the API for referrers.
func knows(r *reply, err error) bool {
	if err != nil {
		return knowsReferrers(statusOf(err), nil)
	}
	return r.mediaType == types.OCIImageIndex
}
