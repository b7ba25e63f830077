package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strconv"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// refName is the annotation that carries a tag in a layout's index.json.
const refName = "org.opencontainers.image.ref.name"

// openLayout opens a layout directory.
func openLayout(ref Reference) (files, error) {
	fi, err := os.Stat(ref.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.Errorf(fault.Usage, "%v: no such directory", ref)
	case err != nil:
		return nil, fmt.Errorf("%v: %w", ref, err)
	case !fi.IsDir():
		return nil, fault.Errorf(fault.Usage, "%v: %s is not a directory; a tar of a layout is written oci-archive:%s", ref, ref.Path, ref.Path)
	}
	return dirFiles(ref.Path), nil
}

// A shelf is a layout: manifests and blobs, listed in index.json.
type shelf interface {
	source
	neighbourhood
	index(ctx context.Context) (*v1.IndexManifest, error)
}

// resolveLayout finds the image that ref names in a layout's files.
func resolveLayout(ctx context.Context, ref Reference, opt Options, f files) (*Image, error) {
	return resolveShelf(ctx, ref, opt, layoutSource{f})
}

func resolveShelf(ctx context.Context, ref Reference, opt Options, src shelf) (*Image, error) {
	index, err := src.index(ctx)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", ref, err)
	}
	c := chooser{ref: ref, opt: opt, get: src.manifest}
	candidates := index.Manifests
	if ref.Digest != "" {
		candidates, err = c.findDigest(ctx, candidates, 0)
	} else {
		candidates, err = layoutCandidates(ref, candidates)
	}
	if err != nil {
		return nil, err
	}
	desc, doc, err := c.choose(ctx, candidates)
	if err != nil {
		return nil, err
	}
	img, err := newImage(ctx, ref, opt, src, desc, doc)
	if err == nil {
		img.indexes = c.via
	}
	return img, err
}

// layoutCandidates narrows a layout's images down to those that ref names.
func layoutCandidates(ref Reference, all []v1.Descriptor) ([]v1.Descriptor, error) {
	if n, ok := strings.CutPrefix(ref.Tag, "@"); ok {
		i, err := strconv.Atoi(n)
		if err != nil || i < 0 || i >= len(all) {
			return nil, fault.Errorf(fault.Usage, "%v: there are %d images, counted from 0", ref, len(all))
		}
		return all[i : i+1], nil
	}
	var found []v1.Descriptor
	var tags []string
	for _, d := range all {
		tag := d.Annotations[refName]
		if isAttached(d) && (tag == "" || ref.Tag != tag) {
			continue
		}
		if tag != "" {
			tags = append(tags, tag)
		}
		if ref.Tag == "" || ref.Tag == tag {
			found = append(found, d)
		}
	}
	if len(found) == 0 {
		return nil, fault.Errorf(fault.Usage, "%v: no such image; %s", ref, listTags(tags))
	}
	if len(found) > 1 && !allPlatforms(found) {
		return nil, fault.Errorf(fault.Usage, "%v: names %d images; %s", ref, len(found), listTags(tags))
	}
	return found, nil
}

func allPlatforms(descs []v1.Descriptor) bool {
	for _, d := range descs {
		if d.Platform == nil {
			return false
		}
	}
	return true
}

func listTags(tags []string) string {
	if len(tags) == 0 {
		return "none is tagged"
	}
	sort.Strings(tags)
	return "tags are " + strings.Join(tags, ", ")
}
