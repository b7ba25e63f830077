package oci

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// dockerImage is one item of a docker-archive's manifest.json.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerSource reads the blobs of a docker-archive, which are named by path.
type dockerSource struct {
	files
	names map[v1.Hash]string
}

func (s *dockerSource) blob(_ context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	rc, _, err := s.open(s.names[desc.Digest])
	return rc, err
}

func (s *dockerSource) again(ctx context.Context, desc v1.Descriptor, count func(int64)) (io.ReadCloser, error) {
	rc, err := s.blob(ctx, desc)
	if err != nil {
		return nil, err
	}
	return counted(rc, count), nil
}

// resolveDockerArchive makes the manifest that the archive lacks, of docker's
// media types. Its layers carry their diffIDs as digests, as far as they are
// not compressed: the same image gives the same digest.
func resolveDockerArchive(ctx context.Context, ref Reference, opt Options, f files) (*Image, error) {
	di, err := chooseDockerImage(ref, f)
	if err != nil {
		return nil, err
	}
	src := &dockerSource{f, map[v1.Hash]string{}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.DockerManifestSchema2}
	config, err := readSmall(f, di.Config)
	if err != nil {
		return nil, fault.Errorf(fault.Verify, "%v: config: %w", ref, err)
	}
	var cf v1.ConfigFile
	if err := parse(config, &cf); err != nil {
		return nil, fault.Errorf(fault.Verify, "%v: config %s: %w", ref, di.Config, err)
	}
	if len(cf.RootFS.DiffIDs) != len(di.Layers) {
		return nil, fault.Errorf(fault.Verify, "%v: config has %d diffIDs for %d layers", ref, len(cf.RootFS.DiffIDs), len(di.Layers))
	}
	m.Config = describe(types.DockerConfigJSON, config)
	src.names[m.Config.Digest] = di.Config
	for i, name := range di.Layers {
		desc, err := src.describeLayer(ctx, name, cf.RootFS.DiffIDs[i])
		if err != nil {
			return nil, fmt.Errorf("%v: layer %d (%s): %w", ref, i+1, name, err)
		}
		m.Layers = append(m.Layers, desc)
	}
	doc, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", ref, err)
	}
	return newImage(ctx, ref, opt, src, describe(types.DockerManifestSchema2, doc), doc)
}

// describeLayer gives a plain layer its diffID as digest. A compressed one
// (go-containerregistry writes such) must be read for its own.
func (s *dockerSource) describeLayer(ctx context.Context, name string, diffID v1.Hash) (v1.Descriptor, error) {
	rc, size, err := s.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return v1.Descriptor{}, fault.Errorf(fault.Verify, "is missing in the archive")
	}
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer rc.Close()
	r := bufio.NewReader(withContext(ctx, rc))
	desc := v1.Descriptor{MediaType: types.DockerUncompressedLayer, Size: size, Digest: diffID}
	kind, err := sniff(r)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if kind != "" {
		desc.MediaType = types.DockerLayer
		if desc.Digest, _, err = v1.SHA256(r); err != nil {
			return v1.Descriptor{}, err
		}
	}
	s.names[desc.Digest] = name
	return desc, nil
}

func chooseDockerImage(ref Reference, f files) (*dockerImage, error) {
	raw, err := readSmall(f, "manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Errorf(fault.Usage, "%v: is not a docker-archive: it holds no manifest.json", ref)
	}
	if err != nil {
		return nil, fmt.Errorf("%v: reading manifest.json: %w", ref, err)
	}
	var images []dockerImage
	if err := parse(raw, &images); err != nil {
		return nil, fault.Errorf(fault.Verify, "%v: manifest.json: %w", ref, err)
	}
	if n, ok := strings.CutPrefix(ref.Tag, "@"); ok {
		i, err := strconv.Atoi(n)
		if err != nil || i < 0 || i >= len(images) {
			return nil, fault.Errorf(fault.Usage, "%v: there are %d images, counted from 0", ref, len(images))
		}
		return &images[i], nil
	}
	var found []int
	var tags []string
	for i, di := range images {
		tags = append(tags, di.RepoTags...)
		if ref.Tag == "" || slices.ContainsFunc(di.RepoTags, func(t string) bool { return sameTag(t, ref.Tag) }) {
			found = append(found, i)
		}
	}
	switch len(found) {
	case 1:
		return &images[found[0]], nil
	case 0:
		return nil, fault.Errorf(fault.Usage, "%v: no such image; %s", ref, listTags(tags))
	}
	return nil, fault.Errorf(fault.Usage, "%v: names %d images; %s", ref, len(found), listTags(tags))
}

// sameTag compares a repository tag with what the user wrote, who may leave
// "docker.io/library/" and ":latest" away, as with docker.
func sameTag(have, want string) bool {
	h, err := name.NewTag(have)
	if err != nil {
		return have == want
	}
	w, err := name.NewTag(want)
	return err == nil && h.Name() == w.Name()
}

// describe makes the descriptor of a document.
func describe(mt types.MediaType, doc []byte) v1.Descriptor {
	h, n, _ := v1.SHA256(bytes.NewReader(doc)) // a bytes.Reader does not fail
	return v1.Descriptor{MediaType: mt, Size: n, Digest: h}
}
