package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/abupdate/abupdate/internal/debianimage"
)

// A dracut is what Debian's dracut makes for the root: an initramfs as it comes
// and one with no more than the boot of the benchmark needs.
type dracut struct {
	Key     string `json:"key"`
	Version string `json:"version"`
	Kernel  string `json:"kernel"` // release

	dir string
}

func (d *dracut) generic() string { return filepath.Join(d.dir, "generic.img") }
func (d *dracut) minimal() string { return filepath.Join(d.dir, "minimal.img") }

// firstProcess is a line before dracut's own init.
const firstProcess = "/bench-init"

// makeInitramfs runs within the root. Both initramfs get what tells when their
// first process began and when dracut's last hook ran. The modules of the
// minimal one are those that its boot loaded, and what it needs of dracut.
const makeInitramfs = `mkdir /bench
cat > /bench/init <<'END'
#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev
read -r up < /proc/uptime
echo "bench: first $up" > /dev/kmsg
exec /init
END
cat > /bench/hook <<'END'
#!/bin/sh
read -r up < /proc/uptime
echo "bench: switch $up" > /dev/kmsg
END
chmod 755 /bench/init /bench/hook
kernel=$(ls /usr/lib/modules)
make() {
	dracut --quiet --no-hostonly --zstd --strip --kver "$kernel" --include /bench/init ` + firstProcess + ` \
		--include /bench/hook /usr/lib/dracut/hooks/pre-pivot/99-bench.sh "$@"
}
make --add systemd-veritysetup /out/generic.img
make --drivers "virtio_pci virtio_blk dm_verity squashfs overlay ext4 sha256_ssse3" \
	--modules "base dm dracut-systemd fs-lib kernel-modules rootfs-block systemd systemd-initrd systemd-journald
		systemd-modules-load systemd-udevd systemd-veritysetup" /out/minimal.img
echo "$(dpkg-query -W -f '${Version}' dracut-core) $kernel" > /out/versions
`

// dracutPackages are dracut and what it is recommended with for this.
var dracutPackages = []string{"dracut-core", "binutils", "zstd"}

// openDracut returns dracut's initramfs, and makes them when they are not
// there.
func openDracut(ctx context.Context, f *fixture, log io.Writer) (*dracut, error) {
	dir := filepath.Join(f.dir, "dracut")
	file := filepath.Join(dir, "dracut.json")
	d := &dracut{dir: dir}
	wanted := strings.Join(append(dracutPackages, f.Key, makeInitramfs), " ")
	if b, err := os.ReadFile(file); err == nil && json.Unmarshal(b, d) == nil && d.Key == wanted {
		return d, nil
	}
	fmt.Fprintln(log, "making initramfs with dracut in the root")
	if err := emptyDir(dir); err != nil {
		return nil, err
	}
	err := debianimage.Within(ctx, f.tar(), dir, dracutPackages, makeInitramfs, debianimage.Options{CacheDir: f.dir, Log: io.Discard})
	if err != nil {
		return nil, err
	}
	versions, err := os.ReadFile(filepath.Join(dir, "versions"))
	if err != nil {
		return nil, err
	}
	version, kernel, _ := strings.Cut(strings.TrimSpace(string(versions)), " ")
	d = &dracut{Key: wanted, Version: version, Kernel: kernel, dir: dir}
	return d, writeJSON(file, d)
}
