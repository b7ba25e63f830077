package main

import (
	"context"
	"fmt"
	"os"
)

// slotImage is the whole way from a layout to an image for a slot.
var slotImage = &experiment{name: "OCI layout to slot image", run: func(ctx context.Context, b *bench) ([]pair, error) {
	pairs, err := b.alternate(ctx, 3,
		func(ctx context.Context, round int) (usage, error) {
			u, err := b.build(ctx, measure, b.layout(), b.in("ours"))
			if err == nil && b.kept.slot == "" {
				_, err = b.keepSlot()
			}
			return u, err
		},
		func(ctx context.Context, round int) (usage, error) {
			u, err := b.pipeline(ctx, measure, b.in("peer"))
			if err == nil && b.kept.stock == "" {
				b.kept.stock = b.in("stock.squashfs")
				err = os.Rename(b.in("peer/root.squashfs"), b.kept.stock)
			}
			return u, err
		})
	b.breakdown = steps(pairs)
	return pairs, err
}}

// steps are the medians of the parts of the peer's way.
func steps(pairs []pair) []step {
	if len(pairs) == 0 {
		return nil
	}
	var all []step
	for i, s := range pairs[0].peer.Steps {
		var cpus, walls []float64
		for _, p := range pairs {
			cpus, walls = append(cpus, p.peer.Steps[i].CPU), append(walls, p.peer.Steps[i].Wall)
		}
		all = append(all, step{s.Name, usage{CPU: median(cpus), Wall: median(walls), RSS: s.RSS}})
	}
	return all
}

// tempDisk is the same once more, watched.
var tempDisk = &experiment{name: "temporary disk", run: func(ctx context.Context, b *bench) ([]pair, error) {
	var p pair
	for _, side := range []struct {
		u   *usage
		dir string
		run func(measurer, string) (usage, error)
	}{
		{&p.ours, b.in("ours"), func(m measurer, dir string) (usage, error) { return b.build(ctx, m, b.layout(), dir) }},
		{&p.peer, b.in("peer"), func(m measurer, dir string) (usage, error) { return b.pipeline(ctx, m, dir) }},
	} {
		u, err := side.run(func(ctx context.Context, c command) (usage, error) { return measureDisk(ctx, c, side.dir) }, side.dir)
		if err != nil {
			return nil, err
		}
		// What was asked for is not temporary.
		u.Disk = max(0, u.Disk-inFiles(side.dir+"/slot.img"))
		*side.u = u
		if err := os.RemoveAll(side.dir); err != nil {
			return nil, err
		}
	}
	return []pair{p}, nil
}}

// large is an image of ten roots; tar2sqfs reads the layer, as there is no
// peer for all of it that would not unpack nine gigabytes first.
var large = &experiment{name: "large image", run: func(ctx context.Context, b *bench) ([]pair, error) {
	img, err := openBig(b.fixture, b.log)
	if err != nil {
		return nil, err
	}
	blob, err := img.blob()
	if err != nil {
		return nil, err
	}
	b.big = img
	defer os.RemoveAll(b.in("ours"))
	defer os.Remove(b.in("large.squashfs"))
	return b.alternate(ctx, 1,
		func(ctx context.Context, round int) (usage, error) {
			return b.build(ctx, measure, img.layout(), b.in("ours"))
		},
		func(ctx context.Context, round int) (usage, error) {
			return b.tar2sqfs(ctx, blob, b.in("large.squashfs"))
		})
}}

func (b *bench) tar2sqfs(ctx context.Context, in, out string) (usage, error) {
	args := []string{"tar2sqfs", "--quiet", "--force", "-c", "zstd", "-X", "level=3", "-j", fmt.Sprint(processors()), out}
	u, err := b.measure(ctx, measure, command{args: args, stdin: in})
	if err != nil {
		return u, err
	}
	u.Size, err = bytesUsed(out)
	return u, err
}

// fromTar is packing alone.
var fromTar = &experiment{name: "tar to squashfs", run: func(ctx context.Context, b *bench) ([]pair, error) {
	return b.alternate(ctx, 3,
		func(ctx context.Context, round int) (usage, error) {
			out := b.in("tar-ours.squashfs")
			u, err := b.self(ctx, "tar2sqfs", b.tar(), out)
			if err != nil {
				return u, err
			}
			u.Size, err = bytesUsed(out)
			return u, err
		},
		func(ctx context.Context, round int) (usage, error) {
			return b.tar2sqfs(ctx, b.tar(), b.in("tar-peer.squashfs"))
		})
}}

// self runs this program in one of its modes.
func (b *bench) self(ctx context.Context, mode, stdin string, args ...string) (usage, error) {
	self, err := os.Executable()
	if err != nil {
		return usage{}, err
	}
	return b.measure(ctx, measure, command{args: append([]string{self, mode}, args...), stdin: stdin})
}

// best is the best level of both.
var best = &experiment{name: "best level", run: func(ctx context.Context, b *bench) ([]pair, error) {
	tree, err := b.tree(ctx)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(b.in("ours"))
	return b.alternate(ctx, 1,
		func(ctx context.Context, round int) (usage, error) {
			return b.build(ctx, measure, b.layout(), b.in("ours"), "--level", "best")
		},
		func(ctx context.Context, round int) (usage, error) {
			out := b.in("best.squashfs")
			u, err := b.measure(ctx, measure, command{args: mksquashfs(tree, out)})
			if err != nil {
				return u, err
			}
			u.Size, err = bytesUsed(out)
			return u, err
		})
}}

// hashTree is the tree of an image alone.
var hashTree = &experiment{name: "hash tree", run: func(ctx context.Context, b *bench) ([]pair, error) {
	image, err := b.stock(ctx)
	if err != nil {
		return nil, err
	}
	return b.alternate(ctx, 7,
		func(ctx context.Context, round int) (usage, error) {
			return b.self(ctx, "verity", "", image, b.in("ours.verity"))
		},
		func(ctx context.Context, round int) (usage, error) {
			return b.measure(ctx, measure, command{args: []string{"veritysetup", "format", image, b.in("peer.verity")}})
		})
}}
