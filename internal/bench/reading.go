package main

import (
	"context"
	"fmt"
	"os"
)

// places is how many 4 KiB a random read takes.
const randomReads = 3000

// A reader is a way to read a mounted image; what returns its command gets the
// folder that it is mounted on.
type reader struct {
	name, what string
	command    func(b *bench, dir string) []string
}

func shell(script, dir string) []string { return []string{"sh", "-c", script, "sh", dir} }

var readers = []reader{
	{"sequential", "all files, one after the other", func(b *bench, dir string) []string {
		return shell(`find "$1" -type f -print0 | xargs -0 cat > /dev/null`, dir)
	}},
	{"random", fmt.Sprintf("%d times 4 KiB", randomReads), func(b *bench, dir string) []string {
		self, _ := os.Executable()
		return []string{self, "randread", dir, b.in("places")}
	}},
	{"find", "find with the size of each file", func(b *bench, dir string) []string {
		return shell(`find "$1" -printf '%s\n' > /dev/null`, dir)
	}},
	// grep stops at the first line when it finds something to write to /dev/null.
	{"grep", "grep -r for what is not there", func(b *bench, dir string) []string {
		return shell(`grep -rF nothing-has-this-line "$1" > /dev/null; [ $? = 1 ]`, dir)
	}},
}

// reading compares our image with one of mksquashfs, both mounted by the
// kernel. Nothing is in memory when a run begins.
func reading(r reader, name string, image func(*bench, context.Context) (string, error)) *experiment {
	return &experiment{name: "reading: " + r.name + ", " + name, run: func(ctx context.Context, b *bench) ([]pair, error) {
		if err := needRoot(); err != nil {
			return nil, err
		}
		ours, err := b.slot(ctx)
		if err != nil {
			return nil, err
		}
		peer, err := image(b, ctx)
		if err != nil {
			return nil, err
		}
		if err := writePlaces(b.in("places"), b.tar(), randomReads); err != nil {
			return nil, err
		}
		cold := func(file string) run {
			return func(ctx context.Context, round int) (usage, error) { return b.readCold(ctx, r, file) }
		}
		return b.alternate(ctx, 5, cold(ours), cold(peer))
	}}
}

// readCold mounts an image anew, as drop_caches leaves the file system's own
// caches alone.
func (b *bench) readCold(ctx context.Context, r reader, file string) (u usage, err error) {
	dir := b.in("mnt")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return u, err
	}
	if _, err := measure(ctx, command{args: []string{"mount", "-t", "squashfs", "-o", "ro,loop", file, dir}}); err != nil {
		return u, err
	}
	defer func() {
		_, umountErr := measure(context.WithoutCancel(ctx), command{args: []string{"umount", dir}})
		if err == nil {
			err = umountErr
		}
	}()
	if err := dropCaches(); err != nil {
		return u, err
	}
	return b.measure(ctx, measure, command{args: r.command(b, dir)})
}

// readRows are the rows of all readers against one image. The processor time
// is the kernel's, and hardly depends on the disk.
func readRows(prefix, peer string, limit bar, image func(*bench, context.Context) (string, error)) []row {
	var rows []row
	for _, r := range readers {
		from := reading(r, peer, image)
		rows = append(rows,
			row{prefix + r.name, r.what + ", wall", peer, from, wall, seconds, limit},
			row{prefix + r.name + "-cpu", "the same, CPU", peer, from, cpu, seconds, bar{}})
	}
	return rows
}
