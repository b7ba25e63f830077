package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/abupdate/abupdate/internal/manifest"
)

// What the rows of updating look at, in percent of the new image.
func fetched(u usage) float64 { return 100 * float64(u.Fetched) / float64(max(1, u.Size)) }
func extra(u usage) float64   { return 100 * float64(u.Extra) / float64(max(1, u.Size)) }
func ranges(u usage) float64  { return float64(u.Ranges) }
func bytesFetched(u usage) float64 {
	return float64(u.Fetched + u.Extra)
}

var (
	percent   = unit{"%", 1, 2}
	pieces    = unit{"", 1, 0}
	kilobytes = unit{"kB", 1e3, 1}
)

// updates makes updates of the three versions, once, and a layout of them.
func (b *bench) updates(ctx context.Context) (*upgrade, string, error) {
	dir := b.in("updates")
	if b.kept.upgrade != nil {
		return b.kept.upgrade, dir, nil
	}
	u, err := openUpgrade(ctx, filepath.Dir(b.layout()), b.log)
	if err != nil {
		return nil, "", err
	}
	for _, version := range []string{released, upgraded, patched} {
		args := []string{b.abupdate, "build", u.image(version), "--quiet", "-o", dir, "--tag", version, "--version", version}
		if _, err := b.measure(ctx, measure, command{args: args}); err != nil {
			return nil, "", err
		}
	}
	b.kept.upgrade = u
	return u, dir, nil
}

// device makes a disk whose slot A has a version of an image; B is empty.
func (b *bench) device(ctx context.Context, ref, version, size string, more ...string) (string, error) {
	file := b.in("device.img")
	if err := os.RemoveAll(file); err != nil {
		return "", err
	}
	args := []string{b.abupdate, "image", ref, "-o", file, "--quiet", "--recovery", "none", "--version", version, "--size", size}
	_, err := b.measure(ctx, measure, command{args: append(args, more...)})
	return file, err
}

// outdated makes a device that has a version, and serves the updates.
func (b *bench) outdated(ctx context.Context, version string) (dir, device string, w *web, err error) {
	u, dir, err := b.updates(ctx)
	if err != nil {
		return "", "", nil, err
	}
	if device, err = b.device(ctx, u.image(version), version, "2G"); err != nil {
		return "", "", nil, err
	}
	w, err = serve(ctx, dir)
	return dir, device, w, err
}

// apply writes an update onto a disk and tells from the server's counts what
// that took.
func (b *bench) apply(ctx context.Context, w *web, dir, device, version string) (usage, error) {
	w.take()
	args := []string{b.abupdate, "apply", "http://" + w.address + "/:" + version, "--disk", device, "--quiet"}
	u, err := b.measure(ctx, measure, command{args: args})
	if err != nil {
		return u, err
	}
	image, size, err := squashfsOf(dir, version)
	if err != nil {
		return u, err
	}
	u.Size = size
	for name, t := range w.take() {
		if name == image {
			u.Fetched, u.Ranges = t.bytes, t.requests
		} else {
			u.Extra += t.bytes
		}
	}
	return u, nil
}

// squashfsOf finds an update's image in a layout.
func squashfsOf(dir, version string) (blob string, size int64, err error) {
	var doc struct {
		Manifests, Layers []struct {
			MediaType, Digest string
			Size              int64
			Annotations       map[string]string
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err == nil {
		err = json.Unmarshal(text, &doc)
	}
	for _, m := range doc.Manifests {
		if err == nil && m.Annotations["org.opencontainers.image.ref.name"] == version {
			if text, err = os.ReadFile(filepath.Join(dir, "blobs", "sha256", hexOf(m.Digest))); err == nil {
				err = json.Unmarshal(text, &doc)
			}
		}
	}
	for _, l := range doc.Layers {
		if err == nil && l.MediaType == manifest.SquashfsMediaType {
			return hexOf(l.Digest), l.Size, nil
		}
	}
	if err == nil {
		err = errors.New("there is none")
	}
	return "", 0, fmt.Errorf("looking for the image of %s in %s: %w", version, dir, err)
}

func hexOf(digest string) string { return digest[len("sha256:"):] }

// fetching compares what a device fetches for a new version with what it would
// with an index of chunks.
func fetching(from, to string) *experiment {
	return &experiment{name: "fetching " + from + " to " + to, run: func(ctx context.Context, b *bench) ([]pair, error) {
		dir, device, w, err := b.outdated(ctx, from)
		if err != nil {
			return nil, err
		}
		defer w.close()
		var p pair
		if p.ours, err = b.apply(ctx, w, dir, device, to); err != nil {
			return nil, err
		}
		if p.peer, err = b.casync(ctx, from, to); err != nil {
			return nil, err
		}
		return []pair{p}, nil
	}}
}

var (
	upgradeFetch = fetching(released, upgraded)
	patchFetch   = fetching(upgraded, patched)
)

// stockIndex compares with an index of 4 KiB blocks on a stock squashfs.
func stockIndex(from, to string, ours *experiment) *experiment {
	return &experiment{name: "4 KiB blocks of stock images, " + from + " to " + to, run: func(ctx context.Context, b *bench) ([]pair, error) {
		pairs, err := b.pairs(ctx, ours)
		if err != nil {
			return nil, err
		}
		p := pairs[0]
		p.peer, err = b.stockBlocks(ctx, from, to)
		return []pair{p}, err
	}}
}

var (
	upgradeIndex = stockIndex(released, upgraded, upgradeFetch)
	patchIndex   = stockIndex(upgraded, patched, patchFetch)
)

// nothing is an apply of what is there already.
var nothing = &experiment{name: "nothing to do", run: func(ctx context.Context, b *bench) ([]pair, error) {
	dir, device, w, err := b.outdated(ctx, released)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if _, err := b.apply(ctx, w, dir, device, upgraded); err != nil {
		return nil, err
	}
	var p pair
	p.ours, err = b.nothingToDo(ctx, w, device)
	return []pair{p}, err
}}

// nothingToDo is the second of two applies: the exit code 77 of the command is
// what it must end with.
func (b *bench) nothingToDo(ctx context.Context, w *web, device string) (usage, error) {
	args := []string{"sh", "-c", `"$0" "$@" 2>/dev/null; test $? -eq 77`, b.abupdate, "apply", "http://" + w.address + "/:" + upgraded, "--disk", device, "--quiet"}
	u, err := b.measure(ctx, measure, command{args: args})
	for _, t := range w.take() {
		u.Extra += t.bytes
	}
	return u, err
}
