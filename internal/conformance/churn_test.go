package conformance_test

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/debianimage"
)

// churn is n layers that each add, replace, link and remove a few files of the
// ones below, as a long Dockerfile does. All sources share the tree, so they
// are made in order.
func churn(n int) []source {
	tree := &churned{rng: rand.New(rand.NewPCG(1, 127)), kind: map[string]byte{}}
	var all []source
	for i := range n {
		all = append(all, func(ctx context.Context, c *debianimage.Collection, w io.Writer) error {
			if len(tree.kind) == 0 {
				if err := tree.load(c.Minimal); err != nil {
					return err
				}
			}
			return entries(tree.layer(i)...)(ctx, c, w)
		})
	}
	return all
}

// churned is what the layers so far leave: types by path, without what lies
// below removed directories.
type churned struct {
	rng  *rand.Rand
	kind map[string]byte
}

func (c *churned) load(file string) error {
	return eachOfFile(file, func(h *tar.Header, _ io.Reader) error {
		if name := path.Clean(h.Name); name != "." {
			c.kind[name] = h.Typeflag
		}
		return nil
	})
}

// some picks at most n paths of a type, that no other pick of this layer meets.
func (c *churned) some(n int, kind byte, taken map[string]bool) []string {
	var all []string
	for name, k := range c.kind {
		if k == kind && strings.Count(name, "/") >= 2 {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	var picked []string
	for range min(n, len(all)) {
		if name := all[c.rng.IntN(len(all))]; !related(name, taken) {
			taken[name] = true
			picked = append(picked, name)
		}
	}
	return picked
}

// related says whether a path is one of those, or above or below one.
func related(name string, taken map[string]bool) bool {
	for other := range taken {
		if name == other || strings.HasPrefix(name, other+"/") || strings.HasPrefix(other, name+"/") {
			return true
		}
	}
	return false
}

func (c *churned) remove(name string) {
	for other := range c.kind {
		if other == name || strings.HasPrefix(other, name+"/") {
			delete(c.kind, other)
		}
	}
}

func (c *churned) layer(i int) []tar.Header {
	taken := map[string]bool{}
	var out []tar.Header
	put := func(h tar.Header) {
		out = append(out, h)
		c.kind[path.Clean(h.Name)] = h.Typeflag
	}
	// Targets of links stay in this layer, whatever else happens.
	for j, name := range c.some(3, tar.TypeReg, taken) {
		put(tar.Header{Typeflag: tar.TypeLink, Name: fmt.Sprintf("%s.link-%d-%d", name, i, j), Linkname: name})
	}
	for _, name := range c.some(5, tar.TypeReg, taken) {
		c.remove(name)
		out = append(out, tar.Header{Typeflag: tar.TypeReg, Name: path.Join(path.Dir(name), ".wh."+path.Base(name))})
	}
	for _, name := range c.some(4, tar.TypeReg, taken) {
		put(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o640, Uid: i, Gid: i})
	}
	for _, name := range c.some(1, tar.TypeReg, taken) { // a directory in the place of a file
		put(tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o711})
		put(tar.Header{Typeflag: tar.TypeReg, Name: path.Join(name, "file"), Mode: 0o600})
	}
	for _, name := range c.some(1, tar.TypeSymlink, taken) {
		put(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: fmt.Sprintf("target-%d", i), Mode: 0o777})
	}
	if i%8 == 0 {
		for _, name := range c.some(1, tar.TypeDir, taken) { // opaque
			c.remove(name)
			put(tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755})
			out = append(out, tar.Header{Typeflag: tar.TypeReg, Name: path.Join(name, ".wh..wh..opq")})
			put(tar.Header{Typeflag: tar.TypeReg, Name: path.Join(name, fmt.Sprintf("after-%d", i)), Mode: 0o644})
		}
	}
	return out
}
