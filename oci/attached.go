package oci

import (
	"regexp"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// bundleMediaType is that of the sigstore bundle in which cosign 3 keeps a
// signature, and of the artifact that holds it.
const bundleMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// attachment matches the tags of what is attached to an image: signatures,
// attestations, SBOMs, and the index of referrers.
var attachment = regexp.MustCompile(`^sha256-[0-9a-f]{64}(\.(sig|att|sbom))?$`)

// isAttached tells what belongs to an image in a layout from the images.
func isAttached(d v1.Descriptor) bool {
	return attachment.MatchString(d.Annotations[refName]) || d.ArtifactType == bundleMediaType
}
