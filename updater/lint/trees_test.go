package lint_test

import (
	"debug/elf"

	"github.com/abupdate/abupdate/updater/units"
)

const (
	release = "6.1.0-test"
	loader  = "/lib64/ld-linux-x86-64.so.2"
)

var (
	dynamic = program(elf.EM_X86_64, loader, "libc.so.6")
	static  = program(elf.EM_X86_64, "")
)

const kernelConfig = `CONFIG_BLK_DEV_INITRD=y
CONFIG_RD_ZSTD=y
CONFIG_EFI_STUB=y
CONFIG_KEXEC_FILE=y
CONFIG_DEVTMPFS=y
CONFIG_TMPFS=y
CONFIG_SQUASHFS=m
CONFIG_SQUASHFS_ZSTD=y
CONFIG_OVERLAY_FS=m
CONFIG_BLK_DEV_DM=m
CONFIG_DM_VERITY=m
CONFIG_EXT4_FS=y
# CONFIG_BTRFS_FS is not set
CONFIG_VIRTIO_BLK=m
`

const modulesDep = `kernel/fs/squashfs/squashfs.ko:
kernel/fs/overlayfs/overlay.ko.xz:
kernel/drivers/md/dm-verity.ko: kernel/drivers/md/dm-bufio.ko kernel/drivers/md/dm-mod.ko
kernel/drivers/md/dm-bufio.ko: kernel/drivers/md/dm-mod.ko
kernel/drivers/md/dm-mod.ko:
kernel/drivers/block/virtio_blk.ko:
`

// kernelIn is a kernel with its modules in dir.
func kernelIn(dir string) files {
	return files{
		dir + "/modules.builtin":                    "kernel/fs/ext4/ext4.ko\n",
		dir + "/modules.dep":                        modulesDep,
		dir + "/kernel/fs/squashfs/squashfs.ko":     "module",
		dir + "/kernel/fs/overlayfs/overlay.ko.xz":  "module",
		dir + "/kernel/drivers/md/dm-verity.ko":     "module",
		dir + "/kernel/drivers/md/dm-bufio.ko":      "module",
		dir + "/kernel/drivers/md/dm-mod.ko":        "module",
		dir + "/kernel/drivers/block/virtio_blk.ko": "module",
	}
}

// debian is a merged-usr Debian with systemd: what the demo's image is like.
var debian = kernelIn("usr/lib/modules/" + release).with(files{
	"bin": "-> usr/bin", "sbin": "-> usr/sbin", "lib": "-> usr/lib", "lib64": "-> usr/lib64",
	"boot/vmlinuz-" + release: bzImage(release), "boot/config-" + release: kernelConfig,
	"boot/System.map-" + release: "map", "vmlinuz": "-> boot/vmlinuz-" + release, "initrd.img": "-> boot/initrd.img-" + release,
	"dev/": "", "proc/": "", "sys/": "", "run/lock/": "", "tmp/": "", "mnt/": "", "media/": "", "opt/": "", "srv/": "", "home/": "",
	"root/.bashrc": "alias ls=ls\n",

	"usr/sbin/init":                                 "-> /lib/systemd/systemd",
	"usr/lib/systemd/systemd":                       dynamic,
	"usr/bin/systemd":                               "-> /lib/systemd/systemd",
	"usr/lib64/ld-linux-x86-64.so.2":                "-> /lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
	"usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2": "loader",
	"usr/lib/x86_64-linux-gnu/libc.so.6":            "libc",
	"usr/sbin/mke2fs":                               dynamic, "usr/sbin/mkfs.ext4": "=> usr/sbin/mke2fs", "usr/sbin/e2fsck": dynamic,
	"usr/bin/kmod": dynamic, "usr/sbin/modprobe": "-> /bin/kmod", "usr/bin/abupdate": static,
	"usr/bin/awk": "-> /etc/alternatives/awk", "etc/alternatives/awk": "-> /usr/bin/mawk", "usr/bin/mawk": dynamic,
	"etc/alternatives/awk.1.gz": "-> /usr/share/man/man1/mawk.1.gz", // manual pages were left out

	"usr/lib/systemd/system/multi-user.target":                                  "[Unit]\nDescription=Multi-User System\n",
	"usr/lib/systemd/system/graphical.target":                                   "[Unit]\nRequires=multi-user.target\n",
	"usr/lib/systemd/system/default.target":                                     "-> graphical.target",
	"usr/lib/systemd/system/boot-complete.target":                               "[Unit]\nDescription=Boot Completion Check\n",
	"usr/lib/systemd/system/abupdate-mark-good.service":                         string(units.MarkGoodService),
	"usr/lib/systemd/system/multi-user.target.wants/abupdate-mark-good.service": "-> ../abupdate-mark-good.service",
	"usr/lib/systemd/system/getty@.service":                                     "[Service]\nExecStart=-/sbin/agetty\n",
	"etc/systemd/system/getty.target.wants/getty@tty1.service":                  "-> /lib/systemd/system/getty@.service",
	"usr/lib/systemd/system/rc.service":                                         "-> /dev/null",
	"usr/lib/systemd/system/systemd-firstboot.service":                          "[Unit]\nConditionFirstBoot=yes\n",
	"usr/lib/systemd/system/sysinit.target.wants/systemd-firstboot.service":     "-> ../systemd-firstboot.service",
	"usr/lib/systemd/system/sysinit.target.wants/dev-hugepages.mount":           "-> ../dev-hugepages.mount",
	"usr/lib/systemd/system/apt-daily-upgrade.timer":                            "[Timer]\nOnCalendar=daily\n",
	"etc/systemd/system/apt-daily-upgrade.timer":                                "-> /dev/null",
	"etc/systemd/system/timers.target.wants/apt-daily-upgrade.timer":            "-> /lib/systemd/system/apt-daily-upgrade.timer",

	"etc/os-release":     "-> ../usr/lib/os-release",
	"usr/lib/os-release": "ID=debian\nVERSION_ID=\"12\"\n",
	"etc/machine-id":     empty, "etc/hostname": "device\n", "etc/mtab": "-> ../proc/self/mounts", "etc/resolv.conf": "-> /run/systemd/resolve/stub-resolv.conf",
	"etc/fstab":            "# UNCONFIGURED FSTAB FOR BASE SYSTEM\nPARTLABEL=home /var/home ext4 defaults 0 2\ntmpfs /tmp tmpfs defaults 0 0\n",
	"etc/passwd":           "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
	"etc/shadow":           "root:*:20089:0:99999:7:::\nsshd:!:20089::::::\nsystemd-network:!*:20089::::::\n",
	"etc/ssl/certs/ca.pem": "-----BEGIN CERTIFICATE-----\n", "usr/share/doc/openssl/test.key": "-----BEGIN PRIVATE KEY-----\n",

	"var/lock": "-> /run/lock", "var/run": "-> /run", "var/tmp/": "", "var/mail/": "", "var/spool/mail": "-> ../mail",
	"var/log/wtmp": empty, "var/log/README": "-> ../../usr/share/doc/systemd/README.logs", "var/log/alternatives.log": "log",
	"var/lib/systemd/": "", "var/cache/debconf/config.dat": "config", "var/lib/dbus/machine-id": "-> /etc/machine-id",
})

// bootc is Fedora's layout of an image for bootc: the kernel beside its
// modules, ostree's folders, the usual links.
var bootc = kernelIn("usr/lib/modules/" + release).with(files{
	"bin": "-> usr/bin", "sbin": "-> usr/sbin", "lib": "-> usr/lib", "lib64": "-> usr/lib64", "usr/sbin": "-> bin",
	"usr/lib/modules/" + release + "/vmlinuz": bzImage(release), "usr/lib/modules/" + release + "/config": kernelConfig,
	"usr/lib/modules/" + release + "/initramfs.img": string(make([]byte, 2<<20)),
	"boot/": "", "sysroot/": "", "ostree": "-> sysroot/ostree", "sysroot/ostree/repo/config": "[core]\n",
	"home": "-> var/home", "opt": "-> var/opt", "root": "-> var/roothome", "srv": "-> var/srv", "mnt": "-> var/mnt", "media": "-> run/media",
	"usr/local": "-> ../var/usrlocal", "dev/": "", "proc/": "", "sys/": "", "run/": "", "tmp": "-> sysroot/tmp",

	"usr/bin/init":                   "-> ../lib/systemd/systemd",
	"usr/lib/systemd/systemd":        dynamic,
	"usr/lib64/ld-linux-x86-64.so.2": "loader", "usr/lib64/libc.so.6": "libc",
	"usr/bin/mke2fs": dynamic, "usr/bin/mkfs.ext4": "-> mke2fs", "usr/bin/e2fsck": dynamic, "usr/bin/kmod": dynamic, "usr/bin/modprobe": "-> kmod",
	"usr/bin/abupdate": static, "usr/bin/sshd": dynamic,

	"usr/lib/systemd/system/multi-user.target":                              "[Unit]\n",
	"usr/lib/systemd/system/default.target":                                 "-> multi-user.target",
	"usr/lib/systemd/system/boot-complete.target":                           "[Unit]\n",
	"usr/lib/systemd/system/abupdate-mark-good.service":                     string(units.MarkGoodService),
	"etc/systemd/system/multi-user.target.wants/abupdate-mark-good.service": "-> /usr/lib/systemd/system/abupdate-mark-good.service",
	"usr/lib/systemd/system/ldconfig.service":                               "[Unit]\nConditionNeedsUpdate=/etc\n",
	"usr/lib/systemd/system/sysinit.target.wants/ldconfig.service":          "-> ../ldconfig.service",
	"etc/.updated": empty,

	"etc/os-release": "-> ../usr/lib/os-release", "usr/lib/os-release": "ID=fedora\nVERSION_ID=42\nIMAGE_VERSION=42.20250101\n",
	"etc/passwd": "root:x:0:0:Super User:/root:/bin/bash\ncore:x:1000:1000::/var/home/core:/bin/bash\n",
	"usr/lib/tmpfiles.d/rpm-ostree-0-integration.conf": "d /var/home 0755 root root -\nd /var/roothome 0700 root root -\nL /var/usrlocal - - - - ../usr/lib/x\n",
	"var/": "",
})

// alt is the layout of ALT's images: people's folders are links into /var.
var alt = kernelIn("lib/modules/" + release).with(files{
	"boot/vmlinuz-" + release: bzImage(release), "boot/config-" + release: kernelConfig, "boot/vmlinuz": "-> vmlinuz-" + release,
	"home": "-> var/home", "opt": "-> var/opt", "root": "-> var/root", "srv": "-> var/srv", "mnt": "-> var/mnt", "media": "-> run/media",
	"dev/": "", "proc/": "", "sys/": "", "run/": "", "tmp/": "",
	"sbin/init": "-> ../lib/systemd/systemd", "lib/systemd/systemd": dynamic, "lib64/ld-linux-x86-64.so.2": "-> ld-2.38.so", "lib64/ld-2.38.so": "loader", "lib64/libc.so.6": "libc",
	"sbin/mke2fs": dynamic, "sbin/mkfs.ext4": "=> sbin/mke2fs", "sbin/e2fsck": dynamic, "sbin/modprobe": dynamic, "usr/bin/abupdate": static,
	"lib/systemd/system/multi-user.target": "[Unit]\n", "lib/systemd/system/default.target": "-> multi-user.target", "lib/systemd/system/boot-complete.target": "[Unit]\n",
	"lib/systemd/system/abupdate-mark-good.service":                         string(units.MarkGoodService),
	"etc/systemd/system/multi-user.target.wants/abupdate-mark-good.service": "-> /lib/systemd/system/abupdate-mark-good.service",
	"etc/os-release": "ID=altlinux\nVERSION_ID=11\n",
	"etc/passwd":     "root:x:0:0::/root:/bin/bash\nuser:x:1000:1000::/home/user:/bin/bash\n",
	"var/home/":      "", "var/opt/": "", "var/root/.bashrc": "# root's\n", "var/srv/": "", "var/mnt/": "", "var/home/user/.bashrc": "# user's\n",
	"var/lib/openssh/": "", "usr/lib/tmpfiles.d/var.conf": "d /opt/app 0755\nC /var/lib/app - - - - /usr/share/app\n",
	"usr/share/app/data": "data", "var/lib/app/data": "data", "usr/bin/app": "-> /opt/app", "usr/share/app/run": "-> /run/app",
})
