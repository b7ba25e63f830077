package oci

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
)

// Each is the second pass: it calls fn once for every entry. What has no
// content comes first, sorted by path; then regular files as they stand in
// the layers, content streamed; then hardlinks. fn need not read content, and
// must not keep it. Digests are compared again at each layer's end: what fn
// was given is good only when Each returns nil.
func (p *Plan) Each(ctx context.Context, fn func(e fstree.Entry, content io.Reader) error) error {
	for _, e := range p.Entries {
		if e.Type == fstree.Hardlink || e.Type == fstree.Regular && e.Size > 0 {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := fn(e, strings.NewReader("")); err != nil {
			return err
		}
	}
	m := newMeter(p.ix.img.opt, "content", nil)
	for i, d := range p.ix.img.manifest.Layers {
		if len(p.content[i]) > 0 {
			m.p.Total += d.Size
		}
	}
	for i, picks := range p.content {
		if err := p.eachOf(ctx, i, picks, m, fn); err != nil {
			return err
		}
	}
	for _, e := range p.Entries {
		if e.Type == fstree.Hardlink {
			if err := fn(e, strings.NewReader("")); err != nil {
				return err
			}
		}
	}
	return nil
}

// eachOf streams some files of one layer, then reads the layer to its end.
func (p *Plan) eachOf(ctx context.Context, layer int, picks []pick, m *meter, fn func(fstree.Entry, io.Reader) error) error {
	if len(picks) == 0 {
		return nil
	}
	img := p.ix.img
	lr, err := openLayer(ctx, img.src, img.manifest.Layers[layer], m.add)
	if err != nil {
		return fmt.Errorf("%s: %w", img.layerName(layer), err)
	}
	defer lr.Close()
	tr := tar.NewReader(lr)
	at := int32(-1)
	for _, pk := range picks {
		e := p.Entries[pk.entry]
		var th *tar.Header
		for ; at < pk.ordinal; at++ {
			if th, err = tr.Next(); err != nil {
				return p.streamError(lr, layer, e, err)
			}
		}
		if th.Size != e.Size {
			return p.streamError(lr, layer, e, fmt.Errorf("has %d bytes now; had %d", th.Size, e.Size))
		}
		content := &contentReader{r: tr, left: e.Size}
		err := fn(e, content)
		if content.err != nil { // the source's failure explains fn's
			return p.streamError(lr, layer, e, content.err)
		}
		if err != nil {
			return err
		}
	}
	if err := lr.finish(); err != nil {
		return fmt.Errorf("%s: %w", img.layerName(layer), err)
	}
	return nil
}

// streamError is a failure in the middle of a layer that was good before.
func (p *Plan) streamError(lr *layerReader, layer int, e fstree.Entry, err error) error {
	if digestErr := lr.finish(); digestErr != nil {
		err = digestErr
	}
	return fmt.Errorf("%s: entry %q: %w", p.ix.img.layerName(layer), e.Path, corrupt(err))
}

// A contentReader gives exactly the bytes of one file and keeps errors.
type contentReader struct {
	r    io.Reader
	left int64
	err  error
}

func (c *contentReader) Read(p []byte) (int, error) {
	switch {
	case c.err != nil:
		return 0, c.err
	case c.left == 0:
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if err == io.EOF && c.left == 0 {
		err = nil
	}
	if err != nil {
		c.err = noEOF(err)
	}
	return n, c.err
}

// ReadFiles returns the contents of the regular files at the given paths, at
// most limit bytes in all; symlinks are followed inside the image. A path that
// leads to nothing is not in the map. It costs a pass over the layers that
// hold the files, except for files called os-release.
func (p *Plan) ReadFiles(ctx context.Context, paths []string, limit int64) (map[string][]byte, error) {
	want := map[string][]string{} // by first name: the paths asked for
	files := map[string][]byte{}
	for _, path := range paths {
		e, ok := p.Lookup(path)
		if !ok {
			continue
		}
		if e.Type != fstree.Regular {
			return nil, fmt.Errorf("%v: reading %q: is a %v", p.ix.img.ref, path, e.Type)
		}
		if want[e.Path] == nil {
			limit -= e.Size
		}
		if limit < 0 {
			return nil, fault.Errorf(fault.Refused, "%v: reading %q: files are too large", p.ix.img.ref, path)
		}
		want[e.Path] = append(want[e.Path], path)
		if e.Size == 0 {
			files[path] = []byte{}
		}
	}
	for i := range p.content {
		var picks []pick
		for _, pk := range p.content[i] {
			names := want[p.Entries[pk.entry].Path]
			if kept, ok := p.ix.layers[i].kept[pk.ordinal]; ok {
				for _, name := range names {
					files[name] = slices.Clone(kept)
				}
			} else if names != nil {
				picks = append(picks, pk)
			}
		}
		err := p.eachOf(ctx, i, picks, newMeter(Options{}, "", nil), func(e fstree.Entry, content io.Reader) error {
			b, err := io.ReadAll(content)
			for _, name := range want[e.Path] {
				files[name] = b
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}
