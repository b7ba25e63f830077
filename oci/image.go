package oci

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// An Image is one resolved image or update.
type Image struct {
	ref         Reference
	opt         Options
	src         source
	descriptor  v1.Descriptor
	manifestRaw []byte
	manifest    v1.Manifest
	configRaw   []byte
	indexes     []v1.Hash // through which it was found, the outermost first
	config      v1.ConfigFile

	hashMask uint64 // of hashes of paths; 0 for all bits, less for tests of collisions
}

// newImage reads what a manifest says. On success the image owns src.
func newImage(ctx context.Context, ref Reference, opt Options, src source, desc v1.Descriptor, doc []byte) (*Image, error) {
	img := &Image{ref: ref, opt: opt, src: src, descriptor: desc, manifestRaw: doc}
	if err := parse(doc, &img.manifest); err != nil {
		return nil, fault.Errorf(fault.Verify, "%v: manifest %v: %w", ref, desc.Digest, err)
	}
	if err := img.checkManifest(); err != nil {
		return nil, err
	}
	var err error
	if img.configRaw, err = document(ctx, src, img.manifest.Config); err != nil {
		return nil, fmt.Errorf("%v: config: %w", ref, err)
	}
	if err := img.parseConfig(); err != nil {
		return nil, fault.Errorf(fault.Verify, "%v: config %v: %w", ref, img.manifest.Config.Digest, err)
	}
	return img, img.checkPlatform()
}

func (img *Image) parseConfig() error {
	if !img.IsUpdate() {
		return parse(img.configRaw, &img.config)
	}
	var update struct{ Architecture string }
	if err := parse(img.configRaw, &update); err != nil {
		return err
	}
	img.config = v1.ConfigFile{OS: "linux", Architecture: update.Architecture}
	return nil
}

func (img *Image) checkManifest() error {
	m := &img.manifest
	var all int64
	for i, d := range m.Layers {
		if all += d.Size; d.Size < 0 || all < 0 {
			return fault.Errorf(fault.Verify, "%v: layer %d: size is %d", img.ref, i+1, d.Size)
		}
	}
	if img.IsUpdate() {
		if m.Config.MediaType != manifest.ConfigMediaType {
			return fault.Errorf(fault.Verify, "%v: is an update whose config has type %q; want %s", img.ref, m.Config.MediaType, manifest.ConfigMediaType)
		}
		return nil
	}
	switch {
	case m.ArtifactType != "" && m.ArtifactType != string(m.Config.MediaType):
		return fault.Errorf(fault.Usage, "%v: is an artifact of type %q, not an image", img.ref, m.ArtifactType)
	case !m.Config.MediaType.IsConfig():
		return fault.Errorf(fault.Usage, "%v: is not an image: its config has type %q", img.ref, m.Config.MediaType)
	}
	return nil
}

// checkPlatform compares the image's own word with a platform asked for by
// name; without one it is the caller who decides what an image is good for.
func (img *Image) checkPlatform() error {
	if img.opt.Platform == "" || img.config.Architecture == "" {
		return nil
	}
	want, err := img.opt.platform()
	if err != nil {
		return err
	}
	if img.config.Architecture != want.Architecture || img.config.OS != want.OS {
		return fault.Errorf(fault.Refused, "%v: is for platform %s/%s; want %v", img.ref, img.config.OS, img.config.Architecture, want)
	}
	return nil
}

// Reference returns what was resolved.
func (img *Image) Reference() Reference { return img.ref }

// Digest returns the digest of the image's manifest ("sha256:..."). An image
// of a docker-archive has no manifest of its own: one is made, always the same
// for the same image.
func (img *Image) Digest() string { return img.descriptor.Digest.String() }

// Descriptor returns the descriptor of the image's manifest, as a subject of
// other artifacts wants it.
func (img *Image) Descriptor() v1.Descriptor {
	mt := img.manifest.MediaType
	if mt == "" {
		mt = types.OCIManifestSchema1
	}
	return v1.Descriptor{MediaType: mt, Digest: img.descriptor.Digest, Size: int64(len(img.manifestRaw))}
}

// Architecture returns the architecture in OCI's words ("amd64").
func (img *Image) Architecture() string { return img.config.Architecture }

// Config returns the image's config; that of an update holds the platform and
// nothing else.
func (img *Image) Config() v1.ConfigFile { return img.config }

// Labels returns the labels of the image's config.
func (img *Image) Labels() map[string]string { return img.config.Config.Labels }

// Annotations returns the annotations of the image's manifest.
func (img *Image) Annotations() map[string]string { return img.manifest.Annotations }

// ManifestRaw returns the manifest as the source has it.
func (img *Image) ManifestRaw() []byte { return img.manifestRaw }

// Layers returns the descriptors of the layers, the lowest first.
func (img *Image) Layers() []v1.Descriptor { return img.manifest.Layers }

// Size returns the compressed bytes of all layers.
func (img *Image) Size() int64 {
	var n int64
	for _, d := range img.manifest.Layers {
		n += d.Size
	}
	return n
}

// IsUpdate reports whether the image is an update artifact.
func (img *Image) IsUpdate() bool {
	return img.manifest.ArtifactType == manifest.ArtifactType ||
		img.manifest.ArtifactType == "" && img.manifest.Config.MediaType == manifest.ConfigMediaType
}

// UpdateConfig returns the config blob of an update: the update manifest.
func (img *Image) UpdateConfig() ([]byte, error) {
	if !img.IsUpdate() {
		return nil, fault.Errorf(fault.Usage, "%v: is an image, not an update", img.ref)
	}
	return img.configRaw, nil
}

// Blob opens the one layer with the given media type. Its size and digest are
// checked when it has been read to the end; only io.EOF means that all was
// right. When it was not, Elsewhere says whether to open it again.
func (img *Image) Blob(ctx context.Context, mediaType string) (io.ReadCloser, int64, error) {
	desc, err := img.layer(mediaType)
	if err != nil {
		return nil, 0, err
	}
	rc, err := img.src.blob(ctx, desc)
	if err != nil {
		return nil, 0, fmt.Errorf("%v: %w", img.ref, err)
	}
	v, err := newVerifier(withContext(ctx, rc), desc.Digest, desc.Size)
	if err != nil {
		rc.Close()
		return nil, 0, err
	}
	return &doubtedReader{v, rc}, desc.Size, nil
}

// layer returns the one layer with the given media type.
func (img *Image) layer(mediaType string) (v1.Descriptor, error) {
	var found []v1.Descriptor
	for _, d := range img.manifest.Layers {
		if string(d.MediaType) == mediaType {
			found = append(found, d)
		}
	}
	if len(found) != 1 {
		return v1.Descriptor{}, fault.Errorf(fault.Verify, "%v: has %d layers of type %s; want 1", img.ref, len(found), mediaType)
	}
	return found[0], nil
}

// Close removes what was spooled and releases open files.
func (img *Image) Close() error { return img.src.Close() }

// layerName names layer i for people.
func (img *Image) layerName(i int) string {
	digest := img.manifest.Layers[i].Digest
	return fmt.Sprintf("%v: layer %d of %d (%s:%s)", img.ref, i+1, len(img.manifest.Layers), digest.Algorithm, short(digest.Hex))
}

func short(hex string) string { return strings.TrimSpace(hex[:min(12, len(hex))]) }
