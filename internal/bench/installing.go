package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// installing compares a full install of an update that lies on the same disk,
// read back from it, with what the peer does with the same image.
func installing(name string, n int, peer func(ctx context.Context, b *bench, image string) (usage, error)) *experiment {
	return &experiment{name: name, run: func(ctx context.Context, b *bench) ([]pair, error) {
		u, dir, err := b.updates(ctx)
		if err != nil {
			return nil, err
		}
		image, _, err := squashfsOf(dir, upgraded)
		if err != nil {
			return nil, err
		}
		device, err := b.device(ctx, u.image(patched), patched, "2G")
		if err != nil {
			return nil, err
		}
		return b.alternate(ctx, n,
			func(ctx context.Context, round int) (usage, error) {
				return b.install(ctx, device, "oci:"+dir+":"+upgraded)
			},
			func(ctx context.Context, round int) (usage, error) {
				return peer(ctx, b, filepath.Join(dir, "blobs", "sha256", image))
			})
	}}
}

// install writes an update whole into the empty slot of a copy of a disk.
func (b *bench) install(ctx context.Context, device, ref string) (usage, error) {
	target := b.in("target.img")
	defer os.Remove(target)
	// What cp wrote must not wait for the first sync of the install.
	if err := b.shell(ctx, b.work, `cp --sparse=always "$1" "$2"; sync "$2"`, device, target); err != nil {
		return usage{}, err
	}
	return b.measure(ctx, measure, command{args: []string{b.abupdate, "apply", ref, "--full", "--allow-downgrade", "--disk", target, "--quiet"}})
}

var (
	installDD = installing("full install", 5, func(ctx context.Context, b *bench, image string) (usage, error) {
		target := b.in("target-dd.img")
		defer os.Remove(target)
		return b.measure(ctx, measure, command{args: []string{"dd", "if=" + image, "of=" + target, "bs=1M", "conv=fsync"}})
	})
	installSWUpdate = installing("full install by SWUpdate", 3, func(ctx context.Context, b *bench, image string) (usage, error) { return b.swupdate(ctx, image) })
	installRAUC     = installing("full install by RAUC", 3, func(ctx context.Context, b *bench, image string) (usage, error) { return b.rauc(ctx, image) })
)

// installLarge is the same with the image of ten roots.
var installLarge = &experiment{name: "full install of a large image", run: func(ctx context.Context, b *bench) ([]pair, error) {
	img, err := openBig(b.fixture, b.log)
	if err != nil {
		return nil, err
	}
	b.big = img
	dir := b.in("updates-large")
	defer os.RemoveAll(dir)
	build := []string{b.abupdate, "build", "oci:" + img.layout() + ":" + tag, "--quiet", "-o", dir, "--tag", "large", "--version", "large", "--level", "fast"}
	if _, err := b.measure(ctx, measure, command{args: build}); err != nil {
		return nil, err
	}
	_, size, err := squashfsOf(dir, "large")
	if err != nil {
		return nil, err
	}
	small, _, err := b.updates(ctx)
	if err != nil {
		return nil, err
	}
	layout := b.in("large.toml")
	if err := os.WriteFile(layout, fmt.Appendf(nil, "slot = \"%dM\"\n", (size+size/16)>>20+64), 0o644); err != nil {
		return nil, err
	}
	device, err := b.device(ctx, small.image(released), released, strconv.FormatInt((2*size+size/8)>>20+2048, 10)+"M", "--layout", layout)
	if err != nil {
		return nil, err
	}
	defer os.Remove(device)
	u, err := b.install(ctx, device, "oci:"+dir+":large")
	u.Size = size
	return []pair{{ours: u}}, err
}}

const swDescription = `software = {
	version = "1.0.0";
	hardware-compatibility: [ "1.0" ];
	images: ( { filename = "root.img"; device = "%s"; type = "raw"; installed-directly = true; sha256 = "%s"; } );
}
`

// shell runs a script in dir that prepares a peer.
func (b *bench) shell(ctx context.Context, dir, script string, args ...string) error {
	_, err := b.measure(ctx, measure, command{args: append([]string{"sh", "-ec", "cd \"$0\"; " + script, dir}, args...)})
	return err
}

// A key that signs for SWUpdate and RAUC.
const makeKey = `openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 3650 -subj /CN=bench ` +
	`-addext extendedKeyUsage=emailProtection,codeSigning -addext keyUsage=digitalSignature 2>/dev/null; `

// swupdate streams an image into a file with SWUpdate, which checks its
// signature and digest.
func (b *bench) swupdate(ctx context.Context, image string) (usage, error) {
	dir := b.in("swupdate")
	if err := emptyDir(dir); err != nil {
		return usage{}, err
	}
	defer os.RemoveAll(dir)
	target := filepath.Join(dir, "target.img")
	if err := os.WriteFile(target, nil, 0o644); err != nil {
		return usage{}, err
	}
	text := fmt.Sprintf(swDescription, target, filepath.Base(image)) // a blob's name is its digest
	if err := os.WriteFile(filepath.Join(dir, "sw-description"), []byte(text), 0o644); err != nil {
		return usage{}, err
	}
	err := b.shell(ctx, dir, makeKey+`ln "$1" root.img
openssl cms -sign -in sw-description -out sw-description.sig -signer cert.pem -inkey key.pem -outform DER -nosmimecap -binary
printf 'sw-description\nsw-description.sig\nroot.img\n' | cpio --quiet -o -H crc > image.swu`, image)
	if err != nil {
		return usage{}, err
	}
	return b.measure(ctx, measure, command{args: []string{"swupdate", "-H", "bench:1.0", "-k", filepath.Join(dir, "cert.pem"), "-i", filepath.Join(dir, "image.swu")}})
}

const raucManifest = `[update]
compatible=bench
version=1

[bundle]
format=plain

[image.rootfs]
filename=root.img
`

const raucConfig = `[system]
compatible=bench
bootloader=noop
mountprefix=%[1]s/mnt
statusfile=%[1]s/status

[keyring]
path=%[1]s/cert.pem

[slot.rootfs.0]
device=%[1]s/a.img
type=raw
bootname=A

[slot.rootfs.1]
device=%[1]s/b.img
type=raw
bootname=B
`

// rauc installs an image as a plain bundle with RAUC, on a message bus
// of its own. Service and command are measured together: both are below one
// shell.
func (b *bench) rauc(ctx context.Context, image string) (usage, error) {
	dir := b.in("rauc")
	if err := emptyDir(dir, filepath.Join(dir, "mnt"), filepath.Join(dir, "bundle")); err != nil {
		return usage{}, err
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{"bundle/manifest.raucm": raucManifest, "system.conf": fmt.Sprintf(raucConfig, dir)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return usage{}, err
		}
	}
	err := b.shell(ctx, dir, makeKey+`ln "$1" bundle/root.img
rauc bundle --cert cert.pem --key key.pem bundle image.raucb >/dev/null 2>&1
truncate -s 2G a.img b.img`, image)
	if err != nil {
		return usage{}, err
	}
	const script = `cd "$0"
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$PWD/bus
dbus-daemon --session --nofork --address=$DBUS_SYSTEM_BUS_ADDRESS & bus=$!
while [ ! -S bus ]; do sleep 0.01; done
rauc --conf=system.conf --override-boot-slot=A service >log 2>&1 & service=$!
until dbus-send --bus=$DBUS_SYSTEM_BUS_ADDRESS --dest=org.freedesktop.DBus --print-reply / org.freedesktop.DBus.GetNameOwner string:de.pengutronix.rauc >/dev/null 2>&1; do sleep 0.01; done
rauc --conf=system.conf install "$PWD/image.raucb" >/dev/null || { cat log >&2; exit 1; }
kill $service $bus
wait || true`
	return b.measure(ctx, measure, command{args: []string{"sh", "-ec", script, dir}})
}
