package oci

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// An Update is what WriteUpdate packs.
type Update struct {
	Config       []byte // the encoded update manifest
	Architecture string
	Squashfs     UpdateFile
	Tree         UpdateFile
	Annotations  map[string]string // of the manifest
	Subject      *v1.Descriptor    // the image it was built from, when known
}

// An UpdateFile is the content of one layer of an update.
type UpdateFile struct {
	Path string
	// Take moves the file into the layout instead of copying it.
	Take bool
}

// WriteUpdate adds an update to the OCI image layout in dir, which is made
// when missing, and returns the digest of its manifest. An image of the same
// tag gives up its tag. index.json is written last, so that a layout is never
// seen half done.
func WriteUpdate(ctx context.Context, dir, tag string, u Update) (digest string, err error) { return "", nil }

// Push sends the image or update that local names to the registry and returns
// the digest of its manifest. local is of the form oci:DIR[:TAG].
func Push(ctx context.Context, local, remote Reference, opt Options) (digest string, err error) { return "", nil }
