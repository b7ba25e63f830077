package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/stream"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layerFetch is what a device fetches of an ordinary image whose base it runs.
// The peer is the layer on top, as a store of layers would fetch it.
var layerFetch = &experiment{name: "fetching an upgrade layer", run: func(ctx context.Context, b *bench) ([]pair, error) {
	u, err := openUpgrade(ctx, filepath.Dir(b.layout()), b.log)
	if err != nil {
		return nil, err
	}
	dir, upgrade, err := u.layered()
	if err != nil {
		return nil, fmt.Errorf("making layers: %w", err)
	}
	device, err := b.device(ctx, "oci:"+dir+":"+released, released, "3G")
	if err != nil {
		return nil, err
	}
	w, err := serve(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer w.close()
	args := []string{b.abupdate, "apply", "http://" + w.address + "/:" + upgraded, "--disk", device, "--version", upgraded, "--quiet"}
	p := pair{peer: usage{Fetched: upgrade}}
	if p.ours, err = b.measure(ctx, measure, command{args: args}); err != nil {
		return nil, err
	}
	for _, t := range w.take() {
		p.ours.Fetched += t.bytes
	}
	return []pair{p}, nil
}}

// layered makes a layout of two images: the first version, and the same layer
// with an upgrade to the second on top, whose compressed size it returns.
func (u *upgrade) layered() (dir string, size int64, err error) {
	dir = filepath.Join(u.dir, "layered")
	l, err := layout.FromPath(filepath.Join(u.dir, "images-"+released))
	if err != nil {
		return "", 0, err
	}
	index, err := l.ImageIndex()
	if err != nil {
		return "", 0, err
	}
	doc, err := index.IndexManifest()
	if err != nil {
		return "", 0, err
	}
	base, err := index.Image(doc.Manifests[0].Digest)
	if err != nil {
		return "", 0, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", 0, err
	}
	out, err := layout.Write(dir, empty.Index)
	if err != nil {
		return "", 0, err
	}
	name := func(version string) layout.Option {
		return layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": version})
	}
	if err := out.AppendImage(base, name(released)); err != nil {
		return "", 0, err
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(upgradeLayer(w, u.tar(released), u.tar(upgraded))) }()
	layer := stream.NewLayer(r, stream.WithCompressionLevel(gzip.BestSpeed), stream.WithMediaType(types.OCILayer))
	var img v1.Image
	if img, err = mutate.AppendLayers(base, layer); err != nil {
		return "", 0, err
	}
	if err := out.AppendImage(img, name(upgraded)); err != nil {
		return "", 0, err
	}
	size, err = layer.Size()
	return dir, size, err
}

// upgradeLayer writes what makes the root in one tar that in another, as a
// builder of images does: whiteouts, and all that changed.
func upgradeLayer(out io.Writer, from, to string) error {
	old, err := fingerprints(from)
	if err != nil {
		return err
	}
	now, err := fingerprints(to)
	if err != nil {
		return err
	}
	// Of the names of one file none is left behind.
	whole := make(map[string]bool)
	err = eachMember(to, func(h *tar.Header, _ io.Reader) error {
		name, target := path.Clean(h.Name), path.Clean(h.Linkname)
		if h.Typeflag == tar.TypeLink && (old[name] != now[name] || old[target] != now[target]) {
			whole[name], whole[target] = true, true
		}
		return nil
	})
	if err != nil {
		return err
	}
	tw := tar.NewWriter(out)
	for _, name := range gone(old, now) {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Join(path.Dir(name), ".wh."+path.Base(name))}); err != nil {
			return err
		}
	}
	err = eachMember(to, func(h *tar.Header, r io.Reader) error {
		if name := path.Clean(h.Name); old[name] == now[name] && !whole[name] {
			return nil
		}
		return writeMember(tw, h, r)
	})
	return errors.Join(err, tw.Close())
}

// gone lists what is in old only, without what is below it.
func gone(old, now map[string]fingerprint) []string {
	var names []string
	for name := range old {
		_, there := now[name]
		_, above := now[path.Dir(name)]
		if !there && (above || path.Dir(name) == ".") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// A fingerprint is equal for what is equal. Times of directories do not count:
// the first run of a package manager changes them all.
type fingerprint [sha256.Size]byte

func fingerprints(file string) (map[string]fingerprint, error) {
	all := make(map[string]fingerprint)
	err := eachMember(file, func(h *tar.Header, r io.Reader) error {
		sum := sha256.New()
		fmt.Fprintf(sum, "%c %o %d %d %d %q %v\n", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Size, h.Linkname, h.PAXRecords)
		if h.Typeflag != tar.TypeDir {
			fmt.Fprintln(sum, h.ModTime.Unix())
		}
		_, err := io.Copy(sum, r)
		all[path.Clean(h.Name)] = fingerprint(sum.Sum(nil))
		return err
	})
	return all, err
}
