package faultserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/abupdate/abupdate/internal/manifest"
)

// A Role is what a request is about.
type Role string

// The roles.
const (
	Ping        Role = "ping"      // /v2/
	Token       Role = "token"     // where tokens come from
	Manifest    Role = "manifest"  // of an image, an index or an update
	Config      Role = "config"    // of an image; of an update its manifest
	Tree        Role = "tree"      // an update's hash tree
	Data        Role = "data"      // an update's squashfs
	Layer       Role = "layer"     // of an ordinary image
	SigManifest Role = "sigs"      // the manifest that names signatures
	Signature   Role = "signature" // what was signed, or a bundle
	Referrers   Role = "referrers" // the API, or its fallback tag
	Index       Role = "index"     // a layout's oci-layout and index.json
	Unknown     Role = "unknown"   // what is not there
)

// refName is the annotation that carries a tag in index.json.
const refName = "org.opencontainers.image.ref.name"

// sigTag is the tag of an image's signatures, as cosign names it.
var sigTag = regexp.MustCompile(`^sha256-[0-9a-f]{64}\.sig$`)

// A catalog is what a layout holds.
type catalog struct {
	index     []byte
	tags      map[string]string // to digests
	manifests map[string]v1.Descriptor
	roles     map[string]Role            // of digests
	referrers map[string][]v1.Descriptor // by the subject's digest
}

func readCatalog(dir string, index []byte) (*catalog, error) {
	c := &catalog{
		index: index, tags: make(map[string]string), manifests: make(map[string]v1.Descriptor),
		roles: make(map[string]Role), referrers: make(map[string][]v1.Descriptor),
	}
	var top v1.IndexManifest
	if err := json.Unmarshal(index, &top); err != nil {
		return nil, fmt.Errorf("reading index.json of %s: %w", dir, err)
	}
	for _, d := range top.Manifests {
		role := Manifest
		if tag := d.Annotations[refName]; tag != "" {
			c.tags[tag] = d.Digest.String()
			if sigTag.MatchString(tag) {
				role = SigManifest
			}
		}
		if err := c.add(dir, d, role); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// document is a manifest or an index.
type document struct {
	ArtifactType string            `json:"artifactType"`
	Annotations  map[string]string `json:"annotations"`
	Subject      *v1.Descriptor    `json:"subject"`
	Manifests    []v1.Descriptor   `json:"manifests"`
	Config       *v1.Descriptor    `json:"config"`
	Layers       []v1.Descriptor   `json:"layers"`
}

func (c *catalog) add(dir string, d v1.Descriptor, role Role) error {
	raw, err := os.ReadFile(blobPath(dir, d.Digest.String()))
	if err != nil {
		return fmt.Errorf("reading manifest %v: %w", d.Digest, err)
	}
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return fmt.Errorf("reading manifest %v: %w", d.Digest, err)
	}
	if strings.Contains(doc.ArtifactType, "sigstore") {
		role = SigManifest
	}
	c.manifests[d.Digest.String()], c.roles[d.Digest.String()] = d, role
	if doc.Subject != nil {
		ref := v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, ArtifactType: doc.ArtifactType, Annotations: doc.Annotations}
		subject := doc.Subject.Digest.String()
		c.referrers[subject] = append(c.referrers[subject], ref)
	}
	if doc.Config != nil {
		c.roles[doc.Config.Digest.String()] = Config
	}
	for _, l := range doc.Layers {
		c.roles[l.Digest.String()] = layerRole(l)
	}
	for _, m := range doc.Manifests {
		if err := c.add(dir, m, role); err != nil {
			return err
		}
	}
	return nil
}

func layerRole(l v1.Descriptor) Role {
	switch mt := string(l.MediaType); {
	case mt == manifest.SquashfsMediaType:
		return Data
	case mt == manifest.TreeMediaType:
		return Tree
	case strings.Contains(mt, "simplesigning"), strings.Contains(mt, "sigstore"):
		return Signature
	}
	return Layer
}

// referrersOf is the index that the referrers API answers with.
func (c *catalog) referrersOf(digest, artifactType string) []byte {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: "application/vnd.oci.image.index.v1+json", Manifests: []v1.Descriptor{}}
	for _, d := range c.referrers[digest] {
		if artifactType == "" || d.ArtifactType == artifactType {
			index.Manifests = append(index.Manifests, d)
		}
	}
	b, err := json.Marshal(index)
	if err != nil {
		panic(err) // descriptors that came from JSON
	}
	return b
}

func blobPath(dir, digest string) string {
	return filepath.Join(dir, "blobs", strings.Replace(digest, ":", string(filepath.Separator), 1))
}

// catalog reads the layout anew when its index.json has changed.
func (s *Server) catalog() (*catalog, error) {
	index, err := os.ReadFile(filepath.Join(s.dir, "index.json"))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || !bytes.Equal(s.known.index, index) {
		if s.known, err = readCatalog(s.dir, index); err != nil {
			return nil, err
		}
	}
	return s.known, nil
}
