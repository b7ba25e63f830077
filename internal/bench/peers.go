package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A measurer is measure, or measureDisk for a folder.
type measurer func(ctx context.Context, c command) (usage, error)

// build makes the slot image out of an image with our program, in dir, which
// is also where its temporary files would be.
func (b *bench) build(ctx context.Context, m measurer, layout, dir string, flags ...string) (usage, error) {
	tmp, out := filepath.Join(dir, "tmp"), filepath.Join(dir, "slot.img")
	if err := emptyDir(dir, tmp); err != nil {
		return usage{}, err
	}
	args := append([]string{b.abupdate, "build", "oci:" + layout + ":" + tag, "--quiet", "--raw", out}, flags...)
	u, err := b.measure(ctx, m, command{args: args, tmpdir: tmp})
	if err != nil {
		return u, err
	}
	u.Size, err = bytesUsed(out)
	return u, err
}

// pipeline makes the same of the root with the tools that Debian has, in dir.
// It leaves everything there.
func (b *bench) pipeline(ctx context.Context, m measurer, dir string) (usage, error) {
	tmp := filepath.Join(dir, "tmp")
	if err := emptyDir(dir, tmp); err != nil {
		return usage{}, err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	unpack := []string{"umoci", "unpack", "--image", in("oci") + ":" + tag, in("bundle")}
	if os.Geteuid() != 0 {
		unpack = append(unpack, "--rootless")
	}
	var total usage
	for _, args := range [][]string{
		{"skopeo", "--insecure-policy", "copy", "--quiet", "oci:" + b.layout() + ":" + tag, "oci:" + in("oci") + ":" + tag},
		unpack,
		mksquashfs(in("bundle/rootfs"), in("root.squashfs"), "-Xcompression-level", "3", "-b", "128K"),
		{"veritysetup", "format", in("root.squashfs"), in("root.verity")},
		{"dd", "if=" + in("root.squashfs"), "of=" + in("slot.img"), "bs=1M", "conv=fsync"},
	} {
		u, err := b.measure(ctx, m, command{args: args, tmpdir: tmp})
		if err != nil {
			return total, err
		}
		total.add(args[0], u)
	}
	info, err := os.Stat(in("root.squashfs"))
	if err != nil {
		return total, err
	}
	u, err := b.measure(ctx, m, command{tmpdir: tmp, args: []string{"dd", "if=" + in("root.verity"), "of=" + in("slot.img"),
		"bs=1M", "oflag=seek_bytes", "seek=" + strconv.FormatInt(info.Size(), 10), "conv=notrunc,fsync"}})
	if err != nil {
		return total, err
	}
	total.add("dd", u)
	total.Size, err = bytesUsed(in("root.squashfs"))
	return total, err
}

func mksquashfs(dir, file string, flags ...string) []string {
	return append([]string{"mksquashfs", dir, file, "-comp", "zstd", "-noappend", "-no-progress", "-quiet"}, flags...)
}

// made is what several experiments read, as files or folders of the bench.
type made struct {
	slot, stock, wide, tree string
	upgrade                 *upgrade
	machines                *machines
}

// slot returns our image.
func (b *bench) slot(ctx context.Context) (string, error) {
	if b.kept.slot == "" {
		if _, err := b.build(ctx, measure, b.layout(), b.in("ours")); err != nil {
			return "", err
		}
		return b.keepSlot()
	}
	return b.kept.slot, nil
}

func (b *bench) keepSlot() (string, error) {
	b.kept.slot = b.in("slot.img")
	return b.kept.slot, os.Rename(b.in("ours/slot.img"), b.kept.slot)
}

// tree returns the root as files.
func (b *bench) tree(ctx context.Context) (string, error) {
	if b.kept.tree == "" {
		args := []string{"umoci", "unpack", "--image", b.layout() + ":" + tag, b.in("unpacked")}
		if os.Geteuid() != 0 {
			args = append(args, "--rootless")
		}
		if _, err := measure(ctx, command{args: args}); err != nil {
			return "", err
		}
		b.kept.tree = b.in("unpacked/rootfs")
	}
	return b.kept.tree, nil
}

// stock returns the image that mksquashfs makes at level 3 with its own block
// size.
func (b *bench) stock(ctx context.Context) (string, error) {
	if b.kept.stock == "" {
		if err := b.squash(ctx, b.in("stock.squashfs"), 128<<10); err != nil {
			return "", err
		}
		b.kept.stock = b.in("stock.squashfs")
	}
	return b.kept.stock, nil
}

// wide returns the image that mksquashfs makes at level 3 with our block size.
func (b *bench) wide(ctx context.Context) (string, error) {
	if b.kept.wide == "" {
		ours, err := b.slot(ctx)
		if err != nil {
			return "", err
		}
		blocks, err := blockSize(ours)
		if err != nil {
			return "", err
		}
		if err := b.squash(ctx, b.in("wide.squashfs"), blocks); err != nil {
			return "", err
		}
		b.kept.wide = b.in("wide.squashfs")
	}
	return b.kept.wide, nil
}

func (b *bench) squash(ctx context.Context, file string, blocks int) error {
	tree, err := b.tree(ctx)
	if err != nil {
		return err
	}
	_, err = b.measure(ctx, measure, command{args: mksquashfs(tree, file, "-Xcompression-level", "3", "-b", fmt.Sprintf("%dK", blocks>>10))})
	return err
}

// in names a file in the bench's folder.
func (b *bench) in(name string) string { return filepath.Join(b.work, name) }

// measure is m; the page will tell the command.
func (b *bench) measure(ctx context.Context, m measurer, c command) (usage, error) {
	b.commands.add(b.tell(c))
	return m(ctx, c)
}

// tell writes a command without the places of this run.
func (b *bench) tell(c command) string {
	self, _ := os.Executable()
	text := strings.Join(c.args, " ")
	if c.stdin != "" {
		text += " < " + c.stdin
	}
	return strings.NewReplacer(b.work, "$WORK", b.dir, "$CACHE", self, "bench", b.abupdate, "abupdate").Replace(text)
}

// lines is a list without doubles.
type lines struct{ list []string }

func (l *lines) add(s string) {
	for _, have := range l.list {
		if have == s {
			return
		}
	}
	l.list = append(l.list, s)
}

// emptyDir makes folders anew, the first of which holds the others.
func emptyDir(dirs ...string) error {
	if err := os.RemoveAll(dirs[0]); err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// bytesUsed is the length of a squashfs without what is behind it.
func bytesUsed(file string) (int64, error) {
	sb, err := superblock(file)
	return int64(binary.LittleEndian.Uint64(sb[40:])), err
}

func blockSize(file string) (int, error) {
	sb, err := superblock(file)
	return int(binary.LittleEndian.Uint32(sb[12:])), err
}

func superblock(file string) (sb [96]byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return sb, err
	}
	defer f.Close()
	if _, err := f.ReadAt(sb[:], 0); err != nil {
		return sb, fmt.Errorf("reading superblock of %s: %w", file, err)
	}
	if string(sb[:4]) != "hsqs" {
		return sb, fmt.Errorf("reading superblock of %s: no squashfs", file)
	}
	return sb, nil
}
