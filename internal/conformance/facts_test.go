package conformance_test

import (
	"archive/tar"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// facts are what the headers of an image's layers say, without any idea of
// which of them count in the end.
type facts struct {
	headers  map[string]*tar.Header // the last one of each path; of a link, what its target had then
	features features
}

// readFacts reads all layers of an image of the layout.
func readFacts(dir, tag string) (*facts, error) {
	img, err := imageIn(dir, tag)
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	f := &facts{headers: map[string]*tar.Header{}}
	f.features.layers = len(layers)
	for i, l := range layers {
		if err := f.read(l); err != nil {
			return nil, fmt.Errorf("reading layer %d of %s: %w", i+1, tag, err)
		}
	}
	return f, nil
}

func imageIn(dir, tag string) (v1.Image, error) {
	ix, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	man, err := ix.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, m := range man.Manifests {
		if m.Annotations["org.opencontainers.image.ref.name"] == tag {
			return ix.Image(m.Digest)
		}
	}
	return nil, fmt.Errorf("there is no image %s in %s", tag, dir)
}

func (f *facts) read(l v1.Layer) error {
	r, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if h == nil || err != nil {
			return ignoreEOF(err)
		}
		dir, name := path.Split(path.Clean("/" + h.Name))
		dir = f.resolve(dir)
		switch {
		case name == ".wh..wh..opq":
			f.features.opaque++
		case strings.HasPrefix(name, ".wh."):
			f.features.whiteouts++
		default:
			if h.Typeflag == tar.TypeLink {
				dir, target := path.Split(path.Clean("/" + h.Linkname))
				if h = f.headers[path.Join(f.resolve(dir), target)]; h == nil {
					return fmt.Errorf("%q is a link to nothing", name)
				}
			}
			f.headers[path.Join(dir, name)] = h
		}
	}
}

// resolve follows the symlinks in a directory's path, as far as the headers so
// far tell.
func (f *facts) resolve(dir string) string {
	at := "."
	rest := names(dir)
	for n := 0; len(rest) > 0 && n < 256; n++ {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		if h := f.headers[next]; h != nil && h.Typeflag == tar.TypeSymlink {
			if path.IsAbs(h.Linkname) {
				at = "."
			}
			rest = append(names(h.Linkname), rest...)
			continue
		}
		at = next
	}
	return at
}

func names(p string) []string { return strings.FieldsFunc(p, func(r rune) bool { return r == '/' }) }

var nodeLetters = map[byte]string{tar.TypeChar: "c", tar.TypeBlock: "b"}

// complete fills in what an ordinary user's umoci cannot make.
func (f *facts) complete(l listing) error {
	for name, o := range l {
		h := f.headers[name]
		if h == nil {
			if o.Type != "d" {
				return fmt.Errorf("umoci extracted %q, which no layer has", name)
			}
			h = &tar.Header{} // implicit
		}
		o.UID, o.GID = uint32(h.Uid), uint32(h.Gid)
		if letter := nodeLetters[h.Typeflag]; letter != "" {
			o.Type, o.Size, o.SHA256 = letter, 0, ""
			o.Mode, o.ModTime = uint32(h.Mode&0o7777), h.ModTime.Unix()
			o.Rdev = fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor)
		}
		var all []xattr
		for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
			if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
				all = append(all, xattr{name, []byte(h.PAXRecords[key])})
			}
		}
		o.Xattrs = formatXattrs(all)
		l[name] = o
	}
	return nil
}
