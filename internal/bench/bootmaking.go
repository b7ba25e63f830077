package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
)

// machines are the disks that the same root boots from, on its own kernel.
type machines struct {
	kernel     string
	ours, peer guest // the peer's initramfs is one of dracut's
	dracut     *dracut
}

// guestInit is the image's init: what is measured ends with its first line.
const guestInit = "/usr/lib/bench/init"

const initScript = `#!/bin/sh
read -r up < /proc/uptime
echo "bench: init $up" > /dev/kmsg
mount -t tracefs none /sys/kernel/tracing
{ dmesg | grep -E 'Run /|abupdate: |bench: '
grep sys_finit_module /sys/kernel/tracing/trace
read -r up < /proc/uptime
echo "bench: end $up"; } > /dev/ttyS0
mount -o remount,ro /var
sync
echo o > /proc/sysrq-trigger
sleep 60
`

// dracut mounts what the image's fstab wants mounted before its init runs.
const guestFstab = "LABEL=var /var ext4 defaults,x-initrd.mount 0 0\n"

// machines makes the disks, once.
func (b *bench) machines(ctx context.Context) (*machines, error) {
	if b.kept.machines != nil {
		return b.kept.machines, nil
	}
	d, err := openDracut(ctx, b.fixture, b.log)
	if err != nil {
		return nil, err
	}
	dir := b.in("boot")
	if err := emptyDir(dir); err != nil {
		return nil, err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := b.bootLayout(in("layout")); err != nil {
		return nil, fmt.Errorf("making an image to boot: %w", err)
	}
	ref := "oci:" + in("layout") + ":" + tag
	for _, args := range [][]string{
		{b.abupdate, "image", ref, "-o", in("ours.img"), "--quiet", "--recovery", "none", "--size", "2G", "--export-boot", in("boot"), "--append", "abupdate.timing"},
		{b.abupdate, "build", ref, "--quiet", "--raw", in("slot.img")},
	} {
		if _, err := b.measure(ctx, measure, command{args: args}); err != nil {
			return nil, err
		}
	}
	line, err := os.ReadFile(in("boot/cmdline"))
	if err != nil {
		return nil, err
	}
	m := &machines{kernel: in("boot/vmlinuz"), dracut: d,
		ours: guest{in("boot/initramfs.img"), in("ours.img"), strings.TrimSpace(string(line))}}
	if m.peer, err = b.peerDisk(ctx, dir); err != nil {
		return nil, err
	}
	// The first boot makes the file system of /var. A slot that nobody confirms
	// is not booted for ever.
	if _, err := m.boot(ctx, m.ours); err != nil {
		return nil, err
	}
	if _, err := b.measure(ctx, measure, command{args: []string{b.abupdate, "mark-good", "--disk", in("ours.img"), "--quiet"}}); err != nil {
		return nil, err
	}
	b.kept.machines, b.dracut = m, d
	return m, nil
}

// bootLayout is the root's image with a layer for the benchmark.
func (b *bench) bootLayout(dir string) error {
	base, err := layout.ImageIndexFromPath(b.layout())
	if err != nil {
		return err
	}
	man, err := base.IndexManifest()
	if err != nil {
		return err
	}
	img, err := base.Image(man.Manifests[0].Digest)
	if err != nil {
		return err
	}
	top, err := bootLayer()
	if err != nil {
		return err
	}
	if img, err = mutate.AppendLayers(img, top); err != nil {
		return err
	}
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag}))
}

func bootLayer() (v1.Layer, error) {
	var text bytes.Buffer
	tw := tar.NewWriter(&text)
	for _, f := range []struct {
		name string
		mode int64
		text string
	}{{guestInit, 0o755, initScript}, {"/etc/fstab", 0o644, guestFstab}} {
		h := &tar.Header{Name: "." + f.name, Mode: f.mode, Typeflag: tar.TypeReg, Size: int64(len(f.text))}
		if err := writeMember(tw, h, strings.NewReader(f.text)); err != nil {
			return nil, err
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
}

// makePeerDisk writes squashfs and hash tree of a slot into partitions that
// systemd finds by the root hash, and makes /var.
const makePeerDisk = `truncate -s 2G peer.img
sfdisk --quiet peer.img <<END
label: gpt
start=1MiB, size=800MiB, uuid=$1
start=802MiB, size=100MiB, uuid=$2
start=903MiB, size=512MiB
END
dd if=slot.img of=peer.img bs=1M count=$3 iflag=count_bytes seek=1 conv=notrunc,sparse status=none
dd if=slot.img of=peer.img bs=1M skip=$3 count=$4 iflag=skip_bytes,count_bytes seek=802 conv=notrunc,sparse status=none
mkfs.ext4 -q -F -L var -E offset=$((903 << 20)) peer.img 512M`

// peerDisk puts the bytes of the slot image onto a disk for systemd's own
// verity set-up.
func (b *bench) peerDisk(ctx context.Context, dir string) (guest, error) {
	dev, err := blockdev.Open(filepath.Join(dir, "slot.img"), blockdev.ReadOnly)
	if err != nil {
		return guest{}, err
	}
	defer dev.Close()
	c, err := partitions.ReadSlot(dev)
	if err != nil {
		return guest{}, err
	}
	hash := c.Manifest.RootHash
	err = b.shell(ctx, dir, makePeerDisk, uuid(hash[:32]), uuid(hash[len(hash)-32:]),
		fmt.Sprint(c.Manifest.ImageBytes), fmt.Sprint(c.Manifest.TreeBytes))
	return guest{disk: filepath.Join(dir, "peer.img"),
		append: "root=/dev/mapper/root rootfstype=squashfs ro systemd.verity=yes roothash=" + hash + " systemd.volatile=overlay rdinit=" + firstProcess}, err
}

// uuid writes 32 hex digits as one.
func uuid(hex string) string {
	return strings.Join([]string{hex[:8], hex[8:12], hex[12:16], hex[16:20], hex[20:]}, "-")
}
