package oci

import (
	"context"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Push sends the image or update that local names to a registry, its bytes
// unchanged, and returns the digest of its manifest. A subject makes it one of
// that image's referrers there.
func Push(ctx context.Context, local, to Reference, opt Options) (digest string, err error) {
	switch {
	case to.Transport != Registry:
		return "", fault.Errorf(fault.Usage, "pushing to %v: is not in a registry", to)
	case to.Digest != "":
		return "", fault.Errorf(fault.Usage, "pushing to %v: give a tag; the digest follows from the content", to)
	case local.Transport == Registry:
		return "", fault.Errorf(fault.Usage, "pushing %v: is in a registry already", local)
	}
	img, err := Resolve(ctx, local, opt)
	if err != nil {
		return "", err
	}
	defer img.Close()
	nref, err := remoteName(to, opt)
	if err != nil {
		return "", err
	}
	rt, err := authenticate(ctx, nref.Context(), opt, transport.PushScope)
	if err != nil {
		return "", fmt.Errorf("pushing: %w", registryError(to, err))
	}
	body, err := partial.CompressedToImage(&pushImage{ctx, img})
	if err != nil {
		return "", fmt.Errorf("pushing %v: %w", local, err)
	}
	if err := img.pushTo(ctx, nref, body, &pushTransport{RoundTripper: rt}); err != nil {
		return "", fmt.Errorf("pushing: %v: %w", to, err)
	}
	return img.Digest(), nil
}

// pushTo pushes, and makes sure that a referrer is listed as one.
func (img *Image) pushTo(ctx context.Context, to name.Reference, body v1.Image, rt *pushTransport) error {
	src, err := newOriginal(to.Context(), img.opt)
	if err != nil {
		return err
	}
	defer src.Close()
	written := false
	return insist(ctx, src.wire, func() (done bool, err error) {
		subject := img.manifest.Subject
		if written {
			if subject == nil || !rt.lacks.Load() {
				return true, nil // nobody writes it but the registry
			}
			if done, err = src.isListed(ctx, subject.Digest, img.descriptor.Digest); done || err != nil {
				return done, err
			}
		}
		opt := []remote.Option{remote.WithContext(ctx), remote.WithTransport(rt)}
		if written {
			return false, registryKind(remote.Put(to, body, opt...)) // the manifest, which is there, and the list
		}
		written = true
		return false, registryKind(remote.Write(to, body, opt...))
	})
}

// A pushImage shows an Image to the registry library.
type pushImage struct {
	ctx context.Context
	img *Image
}

func (p *pushImage) RawManifest() ([]byte, error)   { return p.img.manifestRaw, nil }
func (p *pushImage) RawConfigFile() ([]byte, error) { return p.img.configRaw, nil }

func (p *pushImage) MediaType() (types.MediaType, error) {
	return p.img.Descriptor().MediaType, nil
}

func (p *pushImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, d := range p.img.manifest.Layers {
		if d.Digest == h {
			return &pushLayer{p, d}, nil
		}
	}
	if d := p.img.manifest.Config; d.Digest == h {
		return &pushLayer{p, d}, nil
	}
	return nil, fmt.Errorf("no layer %v", h)
}

type pushLayer struct {
	p    *pushImage
	desc v1.Descriptor
}

func (l *pushLayer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l *pushLayer) Size() (int64, error)                { return l.desc.Size, nil }
func (l *pushLayer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }
func (l *pushLayer) Descriptor() (*v1.Descriptor, error) { return &l.desc, nil }
func (l *pushLayer) Compressed() (rc io.ReadCloser, err error) {
	if rc, err = l.p.img.src.blob(l.p.ctx, l.desc); err != nil {
		return nil, err
	}
	v, err := newVerifier(rc, l.desc.Digest, l.desc.Size)
	if err != nil {
		rc.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{v, rc}, nil
}
