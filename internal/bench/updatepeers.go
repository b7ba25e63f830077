package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// stockOf makes the squashfs that a publisher without abupdate would make of a
// version, once.
func (b *bench) stockOf(ctx context.Context, version string) (string, error) {
	file := b.in("stock-" + version + ".squashfs")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	u, _, err := b.updates(ctx)
	if err != nil {
		return "", err
	}
	args := []string{"tar2sqfs", "--quiet", "--force", "-c", "zstd", "-X", "level=3", file}
	_, err = b.measure(ctx, measure, command{args: args, stdin: u.tar(version)})
	return file, err
}

// casync fetches what the chunks of one version lack for the next.
func (b *bench) casync(ctx context.Context, from, to string) (usage, error) {
	var u usage
	dir := b.in("casync")
	if err := emptyDir(dir); err != nil {
		return u, err
	}
	defer os.RemoveAll(dir)
	for _, version := range []string{from, to} {
		image, err := b.stockOf(ctx, version)
		if err != nil {
			return u, err
		}
		args := []string{"casync", "make", "--chunk-size=16K", "--store=" + filepath.Join(dir, version+".castr"), filepath.Join(dir, version+".caibx"), image}
		if _, err := b.measure(ctx, measure, command{args: args}); err != nil {
			return u, err
		}
		info, err := os.Stat(image)
		if err != nil {
			return u, err
		}
		u.Size = info.Size()
	}
	old := filepath.Join(dir, from+".castr")
	store := filepath.Join(dir, to+".castr")
	err := filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(store, path)
		if err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(old, rel)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		u.Fetched += info.Size()
		u.Ranges++
		return nil
	})
	if err != nil {
		return u, err
	}
	info, err := os.Stat(filepath.Join(dir, to+".caibx"))
	if err != nil {
		return u, err
	}
	u.Extra = info.Size()
	return u, nil
}

// stockBlocks counts the 4 KiB blocks of a stock image that the one before it
// has nowhere.
func (b *bench) stockBlocks(ctx context.Context, from, to string) (usage, error) {
	old, err := b.stockOf(ctx, from)
	if err != nil {
		return usage{}, err
	}
	now, err := b.stockOf(ctx, to)
	if err != nil {
		return usage{}, err
	}
	known := make(map[[sha256.Size]byte]bool)
	if err := eachBlock(old, func(sum [sha256.Size]byte) { known[sum] = true }); err != nil {
		return usage{}, err
	}
	var u usage
	missing := false
	err = eachBlock(now, func(sum [sha256.Size]byte) {
		u.Size += block
		if known[sum] {
			missing = false
			return
		}
		u.Fetched += block
		if !missing {
			u.Ranges++
		}
		missing = true
	})
	return u, err
}

const block = 4096

func eachBlock(file string, do func(sum [sha256.Size]byte)) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, block)
	for {
		n, err := io.ReadFull(f, buf)
		if n > 0 {
			do(sha256.Sum256(buf[:n]))
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
