package oci

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
)

// A pick is an entry of a layer whose content is wanted.
type pick struct {
	at   origin
	node fstree.Node
}

// again gives contents what was passed over and is needed after all, from the
// highest layer down.
func (rd *reader) again(ctx context.Context, p *Plan, missing []pick) error {
	begin := func(layer int) func(int64) {
		p.SecondReads++
		rd.meter.grow(p.img.manifest.Layers[layer].Size)
		return rd.meter.add
	}
	return p.pass(ctx, missing, begin, func(same []pick, size int64, r io.Reader) error {
		content, err := rd.give(p.Tree.Path(same[0].node), size, r)
		if err != nil {
			return err
		}
		for _, pk := range same {
			p.Tree.SetContent(pk.node, content)
		}
		return nil
	})
}

// A pass reads layers that hold picks once more, or takes what is at hand.
// Begin is told of each layer that is read, and returns who counts its bytes;
// take gets the picks of one entry, of which there are several when its layer
// is listed several times.
func (p *Plan) pass(ctx context.Context, picks []pick, begin func(layer int) func(int64), take takeFunc) error {
	slices.SortFunc(picks, func(a, b pick) int {
		return cmp.Or(cmp.Compare(b.at.layer(), a.at.layer()), cmp.Compare(a.at, b.at), cmp.Compare(a.node, b.node))
	})
	for len(picks) > 0 {
		layer := picks[0].at.layer()
		n := count(picks, func(pk pick) bool { return pk.at.layer() == layer })
		late := &latePass{open: func() (*tarPass, error) { return p.img.openAgain(ctx, layer, begin(layer)) }}
		if err := p.passLayer(ctx, layer, picks[:n], late, take); err != nil {
			return p.img.explain(layer, err)
		}
		picks = picks[n:]
	}
	return nil
}

type takeFunc func(same []pick, size int64, r io.Reader) error

// count is how many picks in a row, from the first, are as ok wants them.
func count(picks []pick, ok func(pick) bool) int {
	if n := slices.IndexFunc(picks, func(pk pick) bool { return !ok(pk) }); n >= 0 {
		return n
	}
	return len(picks)
}

func (p *Plan) passLayer(ctx context.Context, layer int, picks []pick, late *latePass, take takeFunc) error {
	defer late.close()
	paths := p.local.layer(p.img, layer).paths(picks)
	err := p.take(picks, func(at origin, size int64) (io.Reader, error) {
		path, ok := paths[at.ordinal()]
		if !ok {
			return late.entry(at.ordinal(), size)
		}
		return &localFile{ctx: ctx, files: p.local.Files, path: path, ordinal: at.ordinal(), size: size, late: late}, nil
	}, take)
	if late.pass != nil {
		err = late.pass.verdict(err)
	}
	return err
}

// take goes through a layer up to the last pick.
func (p *Plan) take(picks []pick, open func(at origin, size int64) (io.Reader, error), take takeFunc) error {
	for len(picks) > 0 {
		at := picks[0].at
		n := count(picks, func(pk pick) bool { return pk.at == at })
		same := picks[:n]
		picks = picks[n:]
		size := p.Tree.Size(same[0].node)
		r, err := open(at, size)
		if err == nil {
			err = take(same, size, r)
		}
		if err != nil {
			return fmt.Errorf("entry %q: %w", p.Tree.Path(same[0].node), err)
		}
	}
	return nil
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
	want := map[fstree.Node][]string{} // by first name: the paths asked for
	files := map[string][]byte{}
	var picks []pick
	for _, path := range paths {
		n, ok := p.lookup(path)
		if !ok {
			continue
		}
		if typ := p.Tree.Type(n); typ != fstree.Regular {
			return nil, fmt.Errorf("%v: reading %q: is a %v", p.img.ref, path, typ)
		}
		size := p.Tree.Size(n)
		if want[n] == nil {
			limit -= size
		}
		if limit < 0 {
			return nil, fault.Errorf(fault.Refused, "%v: reading %q: files are too large", p.img.ref, path)
		}
		if kept, ok := p.kept[p.origin(n)]; ok || size == 0 {
			files[path] = append([]byte{}, kept...)
		} else if want[n] == nil {
			picks = append(picks, pick{p.origin(n), n})
		}
		want[n] = append(want[n], path)
	}
	quiet := func(int) func(int64) { return nil }
	err := p.pass(ctx, picks, quiet, func(same []pick, _ int64, r io.Reader) error {
		b, err := io.ReadAll(r)
		for _, pk := range same {
			for _, path := range want[pk.node] {
				files[path] = b
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return files, nil
}
