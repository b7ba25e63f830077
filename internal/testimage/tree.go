package testimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A tree collects what becomes one layer, sorted and with one time for all,
// so that the same content has the same digest.
type tree struct{ entries []treeEntry }

type treeEntry struct {
	tar.Header
	data []byte
}

func (t *tree) add(h tar.Header, data []byte) {
	h.Size = int64(len(data))
	h.ModTime = time.Unix(1700000000, 0)
	h.Format = tar.FormatPAX
	t.entries = append(t.entries, treeEntry{h, data})
}

func (t *tree) dir(name string, mode int64) {
	t.add(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

func (t *tree) file(name string, mode int64, data []byte) {
	t.add(tar.Header{Typeflag: tar.TypeReg, Name: path.Clean(name), Mode: mode}, data)
}

func (t *tree) symlink(name, target string) {
	t.add(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
}

// link makes a hardlink to a file whose name sorts after it or not: links
// are written last.
func (t *tree) link(name, target string) {
	t.add(tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o755}, nil)
}

func (t *tree) layer() (v1.Layer, error) {
	t.parents()
	slices.SortStableFunc(t.entries, func(a, b treeEntry) int {
		if la, lb := a.Typeflag == tar.TypeLink, b.Typeflag == tar.TypeLink; la != lb {
			if la {
				return 1
			}
			return -1
		}
		return strings.Compare(a.Name, b.Name)
	})
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range t.entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			return nil, fmt.Errorf("adding %s: %w", e.Name, err)
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, fmt.Errorf("adding %s: %w", e.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("closing layer: %w", err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(1), tarball.WithCompressedCaching)
}

// parents adds the directories that no entry stands for.
func (t *tree) parents() {
	have := map[string]bool{".": true}
	for _, e := range t.entries {
		have[strings.TrimSuffix(e.Name, "/")] = true
	}
	for _, e := range slices.Clone(t.entries) {
		for d := path.Dir(strings.TrimSuffix(e.Name, "/")); !have[d]; d = path.Dir(d) {
			have[d] = true
			t.dir(d, 0o755)
		}
	}
}
