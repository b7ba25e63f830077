package lint_test

import (
	"debug/elf"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/updater/lint"
)

const (
	modules  = "usr/lib/modules/" + release
	unitDir  = "usr/lib/systemd/system/"
	markGood = unitDir + "abupdate-mark-good.service"
	marksOn  = unitDir + "multi-user.target.wants/abupdate-mark-good.service"
)

func config(old, new string) string { return strings.ReplaceAll(kernelConfig, old, new) }

// findings are changes to a sound image and what is found then, all of it.
var findings = []struct {
	name string
	base files
	with files
	opt  func(*lint.Options)
	want []string
}{
	// kernel
	{"no kernel", debian, files{"boot/vmlinuz-" + release: "", "usr/lib/modules": "", "boot/config-" + release: ""}, nil, []string{"no-kernel /usr/lib/modules"}},
	{"kernel without modules", debian, files{"usr/lib/modules": ""}, nil, []string{"no-kernel /usr/lib/modules", "kernel-without-modules /boot/vmlinuz-" + release}},
	{"modules without a kernel", debian, kernelIn("usr/lib/modules/5.10"), nil, []string{"modules-without-kernel /usr/lib/modules/5.10"}},
	{"empty folder of another release", debian, files{"usr/lib/modules/5.10/": ""}, nil, nil},
	{
		"two kernels", bootc, kernelIn("usr/lib/modules/6.2").with(files{"usr/lib/modules/6.2/vmlinuz": bzImage("6.2"), "boot/config-6.2": kernelConfig}), nil,
		[]string{"several-kernels /usr/lib/modules"},
	},
	{"a kernel in both places", debian, files{modules + "/vmlinuz": bzImage(release)}, nil, nil},
	{"kernel of another name", debian, files{"boot/vmlinuz-" + release: bzImage("6.1.0-other")}, nil, []string{"kernel-release /boot/vmlinuz-" + release}},
	{"kernel without verity", debian, files{modules + "/kernel/drivers/md/dm-verity.ko": ""}, nil,
		[]string{"kernel-no-verity /usr/lib/modules/6.1.0-test", "stale-modules-dep /usr/lib/modules/6.1.0-test/modules.dep"}},
	{"a module that verity needs is missing", debian, files{modules + "/kernel/drivers/md/dm-bufio.ko": ""}, nil,
		[]string{"kernel-no-verity /usr/lib/modules/6.1.0-test", "stale-modules-dep /usr/lib/modules/6.1.0-test/modules.dep"}},
	{"verity built in", debian, files{
		modules + "/kernel/drivers/md": "", modules + "/modules.builtin": "kernel/fs/ext4/ext4.ko\nkernel/drivers/md/dm-mod.ko\nkernel/drivers/md/dm-verity.ko\n",
		modules + "/modules.dep": "kernel/fs/squashfs/squashfs.ko:\nkernel/fs/overlayfs/overlay.ko.xz:\nkernel/drivers/block/virtio_blk.ko:\n",
	}, nil, nil},
	{"squashfs neither built nor set, without a list of what is built in", debian, files{
		modules + "/kernel/fs/squashfs": "", modules + "/modules.builtin": "", modules + "/modules.dep": strings.Replace(modulesDep, "kernel/fs/squashfs/squashfs.ko:\n", "", 1),
		"boot/config-" + release: config("CONFIG_SQUASHFS=m", "# CONFIG_SQUASHFS is not set"),
	}, nil, []string{"kernel-no-squashfs /usr/lib/modules/6.1.0-test"}},
	{"no overlay, known from the list of what is built in", debian, files{
		modules + "/kernel/fs/overlayfs": "", modules + "/modules.dep": strings.Replace(modulesDep, "kernel/fs/overlayfs/overlay.ko.xz:\n", "", 1),
		"boot/config-" + release: config("CONFIG_OVERLAY_FS=m\n", ""),
	}, nil, []string{"kernel-no-overlay /usr/lib/modules/6.1.0-test"}},
	{"squashfs without zstd", debian, files{"boot/config-" + release: config("CONFIG_SQUASHFS_ZSTD=y", "# CONFIG_SQUASHFS_ZSTD is not set")}, nil,
		[]string{"kernel-no-decompressor /usr/lib/modules/6.1.0-test"}},
	{"zstd is not asked for", debian, files{"boot/config-" + release: config("CONFIG_SQUASHFS_ZSTD=y", "CONFIG_SQUASHFS_ZLIB=y")}, func(o *lint.Options) { o.Compression = "gzip" }, nil},
	{"gzip is", debian, nil, func(o *lint.Options) { o.Compression = "gzip" }, []string{"kernel-no-decompressor /usr/lib/modules/6.1.0-test"}},
	{"no initramfs", bootc, files{modules + "/config": config("CONFIG_RD_ZSTD=y\n", "")}, nil, []string{"kernel-no-initramfs /usr/lib/modules/6.1.0-test"}},
	{"no EFI stub", bootc, files{modules + "/config": config("CONFIG_EFI_STUB=y\n", "")}, nil, []string{"kernel-no-efi-stub /usr/lib/modules/6.1.0-test"}},
	{"no kexec", bootc, files{modules + "/config": config("CONFIG_KEXEC_FILE=y\n", "")}, nil, []string{"kernel-no-kexec /usr/lib/modules/6.1.0-test"}},
	{"compressed modules", debian, files{
		modules + "/kernel/drivers/md/dm-verity.ko": "", modules + "/kernel/drivers/md/dm-verity.ko.zst": "packed",
		modules + "/modules.dep": strings.Replace(modulesDep, "dm-verity.ko", "dm-verity.ko.zst", 1),
	}, nil, nil},
	{"no devtmpfs", bootc, files{modules + "/config": config("CONFIG_DEVTMPFS=y\n", "")}, nil, []string{"kernel-no-devtmpfs /usr/lib/modules/6.1.0-test"}},
	{"no ext4", debian, files{modules + "/modules.builtin": "kernel/fs/fat/vfat.ko\n", "boot/config-" + release: config("CONFIG_EXT4_FS=y\n", "")}, nil,
		[]string{"kernel-no-data-filesystem /usr/lib/modules/6.1.0-test"}},
	{"btrfs alone", debian, files{"usr/sbin/mkfs.ext4": "", "usr/bin/mkfs.btrfs": dynamic}, nil, []string{"kernel-no-data-filesystem /usr/lib/modules/6.1.0-test"}},
	{"no disk driver", debian, files{modules + "/kernel/drivers/block": ""}, nil,
		[]string{"kernel-no-disk-driver /usr/lib/modules/6.1.0-test", "stale-modules-dep /usr/lib/modules/6.1.0-test/modules.dep"}},
	{"nothing known of the kernel", debian, files{"boot/config-" + release: "", modules + "/modules.builtin": ""}, nil, []string{"kernel-config-unknown /usr/lib/modules/6.1.0-test"}},
	{"no modules.dep", debian, files{modules + "/modules.dep": ""}, nil, []string{"no-modules-dep /usr/lib/modules/6.1.0-test"}},
	{"no modules.dep, and nobody to read it", debian, files{modules + "/modules.dep": "", "usr/bin/kmod": "", "usr/sbin/modprobe": ""}, nil, nil},
	{"a module that modules.dep does not name", debian, files{modules + "/updates/vendor.ko.zst": "module"}, nil, []string{"stale-modules-dep /usr/lib/modules/6.1.0-test/updates/vendor.ko.zst"}},
	{"a Debian initramfs", debian, files{"boot/initrd.img-" + release: strings.Repeat("x", 1<<20)}, nil, []string{"unused-initramfs /boot/initrd.img-" + release}},

	// init, programs
	{"no init", debian, files{"usr/sbin/init": "", "usr/lib/systemd/systemd": "", "usr/bin/systemd": ""}, nil, []string{"no-init /sbin/init"}},
	{"init is not executable", debian, files{"usr/lib/systemd/systemd": "", "0644:usr/lib/systemd/systemd": dynamic}, nil, []string{"no-init /sbin/init"}},
	{"init is a script", debian, files{"usr/sbin/init": "#!/bin/sh\nexec /opt/init\n", "usr/bin/sh": dynamic, "etc/inittab": "x::once:/usr/bin/abupdate mark-good\n"}, nil, nil},
	{"init is a script for a shell that is not there", debian, files{"usr/sbin/init": "#! /bin/sh\n", "etc/rc.local": "abupdate mark-good\n"}, nil, []string{"missing-library /sbin/init"}},
	{"init is text", debian, files{"usr/lib/systemd/systemd": "hello"}, nil, []string{"not-a-program /sbin/init"}},
	{"init for arm64", debian, files{"usr/lib/systemd/systemd": program(elf.EM_AARCH64, loader, "libc.so.6")}, nil, []string{"architecture-mismatch /sbin/init"}},
	{"image says arm64/v8", debian, nil, func(o *lint.Options) { o.Architecture = "arm64/v8" },
		[]string{
			"architecture-mismatch /boot/vmlinuz-6.1.0-test", "architecture-mismatch /sbin/init",
			"architecture-mismatch /usr/bin/abupdate", "architecture-mismatch /usr/sbin/e2fsck", "architecture-mismatch /usr/sbin/mkfs.ext4",
		}},
	{"a library is missing", debian, files{"usr/sbin/e2fsck": program(elf.EM_X86_64, loader, "libc.so.6", "libext2fs.so.2")}, nil, []string{"missing-library /usr/sbin/e2fsck"}},
	{"the loader is missing", debian, files{"usr/sbin/e2fsck": program(elf.EM_X86_64, "/lib/ld-musl-x86_64.so.1")}, nil, []string{"missing-library /usr/sbin/e2fsck"}},
	{"no mkfs", debian, files{"usr/sbin/mkfs.ext4": ""}, nil, []string{"no-mkfs /usr/sbin/mkfs.ext4"}},
	{"mkfs in /usr/local", debian, files{"usr/sbin/mkfs.ext4": "", "usr/local/sbin/mkfs.ext4": static}, nil, nil},
	{"no fsck", debian, files{"usr/sbin/e2fsck": ""}, nil, []string{"no-fsck /usr/sbin/e2fsck"}},
	{"no architecture", debian, nil, func(o *lint.Options) { o.Architecture = "" }, []string{"no-architecture"}},
	{"riscv64", debian, files{}, func(o *lint.Options) { o.Architecture = "riscv64" }, []string{
		"unsupported-architecture", "architecture-mismatch /boot/vmlinuz-6.1.0-test", "architecture-mismatch /sbin/init",
		"architecture-mismatch /usr/bin/abupdate", "architecture-mismatch /usr/sbin/e2fsck", "architecture-mismatch /usr/sbin/mkfs.ext4",
	}},

	// confirming
	{"no abupdate", debian, files{"usr/bin/abupdate": ""}, nil, []string{"no-abupdate /usr/bin/abupdate", "mark-good-not-enabled /" + markGood}},
	{"no unit", debian, files{markGood: "", marksOn: ""}, nil, []string{"mark-good-not-enabled /" + markGood}},
	{"unit not enabled", debian, files{marksOn: ""}, nil, []string{"mark-good-not-enabled /" + markGood}},
	{"unit masked", debian, files{"etc/systemd/system/abupdate-mark-good.service": "-> /dev/null"}, nil, []string{"mark-good-not-enabled /etc/systemd/system/abupdate-mark-good.service"}},
	{"unit enabled by another's Wants", debian, files{marksOn: "", unitDir + "app.target": "[Unit]\nWants=network.target \\\n  abupdate-mark-good.service\n"}, nil, nil},
	{"health checks", debian, files{"755:usr/lib/abupdate/health.d/net": "x", "755:usr/lib/abupdate/health.d/wanted/time": "x", "etc/abupdate/health.d/off": "-> /dev/null"}, nil, nil},
	{"health checks that are not executable", debian, files{
		"usr/lib/abupdate/health.d/net": "x", "etc/abupdate/health.d/wanted/time": "x", "usr/lib/abupdate/health.d/.x": "x", "usr/lib/abupdate/health.d/doc/x": "x",
	}, nil, []string{"health-check-not-executable /etc/abupdate/health.d/wanted/time", "health-check-not-executable /usr/lib/abupdate/health.d/net"}},
	{"a unit of one's own", debian, files{
		markGood: "", marksOn: "", "etc/systemd/system/health.service": "[Service]\nExecStart=/bin/true\nExecStartPost=/usr/bin/abupdate mark-good\n",
		"usr/bin/true": static, "etc/systemd/system/multi-user.target.requires/health.service": "-> ../health.service",
	}, nil, nil},
	{"an alias is enabled", debian, files{marksOn: "", unitDir + "good.service": "-> abupdate-mark-good.service", unitDir + "multi-user.target.wants/good.service": "-> ../good.service"}, nil, nil},
	{"no boot-complete.target", debian, files{unitDir + "boot-complete.target": ""}, nil, []string{"mark-good-not-enabled /" + markGood}},
	{"OpenRC", debian, files{"usr/sbin/init": static, "etc/runlevels/default/abupdate-mark-good": "-> /etc/init.d/abupdate-mark-good"}, nil, nil},
	{"another init", debian, files{"usr/sbin/init": static}, nil, []string{"mark-good-unknown"}},

	// systemd
	{"no default target", debian, files{unitDir + "default.target": ""}, nil, []string{"no-default-target /usr/lib/systemd/system/default.target"}},
	{"default target leads nowhere", debian, files{"etc/systemd/system/default.target": "-> /usr/lib/systemd/system/kiosk.target"}, nil, []string{"no-default-target /usr/lib/systemd/system/default.target"}},
	{"enabled and not there", debian, files{"etc/systemd/system/multi-user.target.wants/app.service": "-> /usr/lib/systemd/system/app.service"}, nil,
		[]string{"dangling-unit /etc/systemd/system/multi-user.target.wants/app.service"}},
	{"enabled script of System V", debian, files{"etc/systemd/system/multi-user.target.wants/app.service": "-> /run/x", "etc/init.d/app": "#!/bin/sh\n"}, nil, nil},
	{"repart", debian, files{"usr/lib/repart.d/50-root.conf": "[Partition]\n", unitDir + "systemd-repart.service": "[Service]\n", unitDir + "sysinit.target.wants/systemd-repart.service": "-> ../systemd-repart.service"}, nil,
		[]string{"repart /usr/lib/repart.d/50-root.conf"}},
	{"packages update themselves", debian, files{"etc/systemd/system/apt-daily-upgrade.timer": ""}, nil, []string{"package-updates /usr/lib/systemd/system/apt-daily-upgrade.timer"}},
	{"sshd without keys", debian, files{"usr/sbin/sshd": dynamic, unitDir + "ssh.service": "[Service]\n", unitDir + "multi-user.target.wants/ssh.service": "-> ../ssh.service"}, nil,
		[]string{"ssh-no-host-key /etc/ssh"}},
	{"sshd with keys in /var", debian, files{"usr/sbin/sshd": dynamic, unitDir + "ssh.service": "[Service]\n", unitDir + "multi-user.target.wants/ssh.service": "-> ../ssh.service",
		"etc/ssh/sshd_config.d/device.conf": "hostkey /var/lib/ssh/key\n"}, nil, nil},
	{"sshd with keys made at boot", bootc, files{unitDir + "sshd.service": "[Service]\n", unitDir + "sshd-keygen@.service": "[Service]\nExecStart=/usr/libexec/openssh/sshd-keygen %i\n",
		"etc/systemd/system/multi-user.target.wants/sshd.service": "-> x"}, nil, []string{"ssh-host-key-changes /usr/lib/systemd/system/sshd-keygen@.service"}},
	{"caches made anew", bootc, files{"etc/.updated": ""}, nil, []string{"update-at-every-boot /etc/.updated"}},
	{"waits for the first boot", debian, files{unitDir + "setup.service": "[Unit]\nConditionFirstBoot=yes\n", unitDir + "multi-user.target.wants/setup.service": "-> ../setup.service"}, nil,
		[]string{"never-first-boot /usr/lib/systemd/system/setup.service"}},
	{"condition taken back by a drop-in", debian, files{unitDir + "setup.service": "[Unit]\nConditionFirstBoot=yes\n", unitDir + "setup.service.d/x.conf": "[Unit]\nConditionFirstBoot=\n",
		unitDir + "multi-user.target.wants/setup.service": "-> ../setup.service"}, nil, nil},

	// configuration
	{"fstab of an installed system", debian, files{"etc/fstab": "UUID=1 / ext4 defaults 0 1\nUUID=2 /var ext4 defaults 0 2\nUUID=3 none swap sw 0 0\nUUID=4 /data ext4 nofail 0 2\n/dev/vda1\t/boot/efi vfat noauto\n"}, nil,
		[]string{"fstab-root /etc/fstab", "fstab-var /etc/fstab", "fstab-device /etc/fstab"}},
	{"fstab of abupdate's own", debian, files{"etc/fstab": "PARTLABEL=var /var ext4 defaults 0 2\n"}, nil, nil},
	{"resume", debian, files{"etc/initramfs-tools/conf.d/resume": "RESUME=UUID=1\n"}, nil, []string{"resume /etc/initramfs-tools/conf.d/resume"}},
	{"no resume", debian, files{"etc/initramfs-tools/conf.d/resume": "RESUME=none\n"}, nil, nil},
	{"kernel command line", bootc, files{"usr/lib/bootc/kargs.d/10.toml": "kargs = [\"nosmt\"]\n"}, nil, []string{"unused-cmdline /usr/lib/bootc/kargs.d/10.toml"}},
	{"SELinux", bootc, files{"etc/selinux/config": "# x\nSELINUX=enforcing\n"}, nil, []string{"selinux-unlabelled /etc/selinux/config"}},
	{"no os-release", debian, files{"etc/os-release": "", "usr/lib/os-release": ""}, nil, []string{"no-os-release /usr/lib/os-release"}},
	{"no version", debian, files{"usr/lib/os-release": "ID=debian\nVERSION_CODENAME=sid\n"}, func(o *lint.Options) { o.Labels = nil }, []string{"no-version"}},
	{"the distribution's version", debian, nil, func(o *lint.Options) { o.Labels = nil }, []string{"version-of-distribution"}},
	{"given a version", debian, nil, func(o *lint.Options) { o.Labels, o.Version = nil, "2" }, nil},
	{"IMAGE_VERSION", bootc, nil, func(o *lint.Options) { o.Labels = nil }, nil},

	// /var, links
	{"files in /var", debian, files{"var/lib/app/db": "1", "var/lib/app/sub/x": "2", "var/www/index.html": "3", "var/lib/current": "-> /usr/share/app-1"}, nil,
		[]string{"var-content /var/lib/app", "var-content /var/lib/current", "var-content /var/www/index.html"}},
	{"files in /var by tmpfiles.d", debian, files{"var/lib/app/db": "1", "var/lib/app/sub/x": "2", "var/www/index.html": "3",
		"usr/lib/tmpfiles.d/app.conf": "C /var/lib/app\nf /var/www/index.html 0644 root root - 3\n"}, nil, nil},
	{"tmpfiles.d line for the folder alone", debian, files{"var/lib/app/db": "1", "usr/lib/tmpfiles.d/app.conf": "d /var/lib/app\n"}, nil, []string{"var-content /var/lib/app"}},
	{"tmpfiles.d masked", debian, files{"var/lib/app/db": "1", "usr/lib/tmpfiles.d/app.conf": "C /var/lib/app\n", "etc/tmpfiles.d/app.conf": "-> /dev/null"}, nil, []string{"var-content /var/lib/app"}},
	{"tmpfiles.d overridden", debian, files{"var/lib/app/db": "1", "usr/lib/tmpfiles.d/app.conf": "d /var/lib/other\n", "etc/tmpfiles.d/app.conf": "C /var/lib/app\n"}, nil, nil},
	{"empty folders in /var", debian, files{"var/lib/app/sub/": ""}, nil, nil},
	{"dpkg", debian, files{"var/lib/dpkg/status": "Package: x\n", "var/lib/systemd/deb-systemd-helper-enabled/x": "x"}, nil, []string{"var-package-state /var/lib/dpkg", "var-package-state /var/lib/systemd"}},
	{"apt's caches", debian, files{"var/cache/apt/pkgcache.bin": strings.Repeat("x", 1<<20), "var/lib/apt/lists/x": strings.Repeat("x", 1<<20)}, nil, []string{"leftovers /var/cache", "leftovers /var/lib/apt/lists"}},
	{"FIFO in /var", debian, files{"var/lib/app/fifo": "fifo"}, nil, []string{"var-special-file /var/lib/app/fifo"}},
	{"state of a device", debian, files{"var/lib/abupdate/machine-id": "0123456789abcdef0123456789abcdef\n"}, nil, []string{"device-state /var/lib/abupdate/machine-id"}},
	{"home not kept", debian, files{"etc/passwd": "user:x:1000:1000::/home/user:/bin/bash\nkeeper:x:1001:1001::/var/home/keeper:/bin/sh\n"}, nil, []string{"home-not-kept /home/user"}},
	{"home in fstab", debian, files{"etc/passwd": "user:x:1000:1000::/home/user:/bin/bash\n", "etc/fstab": "PARTLABEL=home /home ext4 defaults\n"}, nil, nil},
	{"link into /var", debian, files{"usr/share/app/data": "-> /var/lib/app/data"}, nil, []string{"usr-link-to-var /usr/share/app/data"}},
	{"link into /var through /opt", alt, files{"usr/bin/tool": "-> /opt/tool/bin/tool"}, nil, []string{"usr-link-to-var /usr/bin/tool", "dangling-link /usr/bin/tool"}},
	{"link into /srv", debian, files{"usr/share/app/data": "-> /srv/data"}, nil, []string{"usr-link-outside /usr/share/app/data"}},
	{"links that are all right", debian, files{"usr/share/app/conf": "-> /etc/app.conf", "usr/share/app/rel": "-> ../../../srv/x", "usr/share/app/run": "-> /var/run/app", "usr/lib/app": "-> /lib/systemd"}, nil, nil},
	{"links that lead nowhere", debian, files{"usr/bin/python": "-> python3", "usr/lib/libx.so.1": "-> libx.so.1.0", "usr/lib/libx.so": "-> libx.so.9", "etc/localtime": "-> /usr/share/zoneinfo/Mars", "usr/share/x": "-> y"}, nil,
		[]string{"dangling-link /etc/localtime", "dangling-link /usr/bin/python", "dangling-link /usr/lib/libx.so.1"}},
	{"links in a circle", debian, files{"usr/share/a": "-> b", "usr/share/b": "-> a"}, nil, []string{"dangling-link /usr/share/a", "dangling-link /usr/share/b"}},
	{"below /dev and /run", debian, files{"dev/console": "char 5:1", "dev/null": "char 1:3", "run/.containerenv": empty}, nil, []string{"hidden-content /dev", "hidden-content /run"}},

	// secrets
	{"ssh keys", debian, files{"etc/ssh/ssh_host_rsa_key": "k", "etc/ssh/ssh_host_rsa_key.pub": "k", "etc/ssh/ssh_host_ed25519_key": empty}, nil, []string{"ssh-host-key /etc/ssh/ssh_host_rsa_key"}},
	{"private keys", debian, files{"etc/ssl/private/web.key": "-----BEGIN PRIVATE KEY-----\n", "root/.ssh/id_ed25519": "-----BEGIN OPENSSH PRIVATE KEY-----\n", "etc/x.pem": "-----BEGIN EC PARAMETERS-----\nx\n-----BEGIN EC PRIVATE KEY-----\n",
		"usr/lib/python3/test/key.pem": "-----BEGIN PRIVATE KEY-----\n"}, nil, []string{"private-key /etc/ssl/private/web.key", "private-key /etc/x.pem", "private-key /root/.ssh/id_ed25519"}},
	{"passwords", debian, files{"etc/shadow": "root:$y$j9T$abc$defghijklmnop:1::::::\nold:ab01FAX.bQRSU:1::::::\nlocked:!$6$salt$hashhashhash:1::::::\nopen::1::::::\nno:!:1::::::\nnono:!!:1::::::\n"}, nil,
		[]string{"password-hash /etc/shadow", "password-hash /etc/shadow", "password-hash /etc/shadow", "empty-password /etc/shadow"}},
	{"credentials", debian, files{"root/.docker/config.json": `{"auths":{"r.example":{"auth":"eA=="}}}`, "home/u/.docker/config.json": `{"credsStore":"x"}`, "etc/apt/auth.conf.d/x.conf": "machine m login l password p\n", "root/.netrc": "machine x\n",
		"root/.npmrc": "registry=https://r.example\n", "etc/containers/auth.json": `{"auths":{}}`}, nil,
		[]string{"credentials /etc/apt/auth.conf.d/x.conf", "credentials /root/.docker/config.json", "credentials /root/.netrc"}},
	{"history", debian, files{"root/.bash_history": "passwd\n", "root/.lesshst": empty}, nil, []string{"history /root/.bash_history"}},
	{"identity", debian, files{"var/lib/systemd/random-seed": "seed", "var/lib/dbus/machine-id": "0123456789abcdef0123456789abcdef\n"}, nil, []string{"device-identity /var/lib/dbus/machine-id", "device-identity /var/lib/systemd/random-seed"}},
	{"machine ID", debian, files{"etc/machine-id": "0123456789abcdef0123456789abcdef\n"}, nil, []string{"machine-id /etc/machine-id"}},
	{"uninitialized machine ID", debian, files{"etc/machine-id": "uninitialized\n"}, nil, nil},

	// entries
	{"setuid and writable", debian, files{"4757:usr/bin/su": static, "4755:usr/bin/mount": static}, nil, []string{"setuid-writable /usr/bin/su"}},
	{"ACLs", debian, nil, func(o *lint.Options) {
		o.Dropped = map[string]int{"system.posix_acl_access": 2, "SCHILY.acl.access": 1, "user.overlay.origin": 3}
	}, []string{"dropped-acl", "dropped-acl", "dropped-xattr"}},
	{"times", debian, files{"usr/share/old": "time -1", "usr/share/late": "time 4294967296", "usr/share/last": "time 4294967295"}, nil, []string{"time-range /usr/share/late", "time-range /usr/share/old"}},
	{"whiteout", debian, files{"usr/share/gone": "char 0:0", "usr/share/null": "char 1:3"}, nil, []string{"overlay-whiteout /usr/share/gone"}},
	{"large file", debian, files{"etc/passwd": strings.Repeat("#", 256<<10+1)}, nil, []string{"not-read /etc/passwd"}},
	{"list for another version", debian, files{lint.IgnorePath: "no-flux-capacitor\n"}, nil, []string{"unknown-ignore /usr/lib/abupdate/lint-ignore"}},

	// size
	{"too small, estimated", debian, files{"usr/noise": strings.Repeat("x", 4<<20)}, func(o *lint.Options) { o.Slot, o.Compressed = 1<<20, 3<<20 }, []string{"slot-too-small"}},
	{"not known", debian, files{"usr/noise": strings.Repeat("x", 4<<20)}, func(o *lint.Options) { o.Slot = 2 << 20 }, []string{"slot-unknown"}},
	{"upper layers may hide half", debian, files{"usr/noise": strings.Repeat("x", 4<<20)}, func(o *lint.Options) { o.Slot, o.Compressed, o.Layers = 1<<20, 3<<20, 2 }, []string{"slot-unknown"}},
	{"fits in any case", debian, nil, func(o *lint.Options) { o.Slot = 64 << 20 }, nil},
	{"too small, exactly", debian, nil, func(o *lint.Options) { o.Slot, o.ExactBytes = 1<<20, 1<<20 }, []string{"slot-too-small"}},
	{"tight", debian, nil, func(o *lint.Options) { o.Slot, o.ExactBytes = 10<<20, 95<<20/10 }, []string{"slot-tight"}},
	{"fits exactly", debian, nil, func(o *lint.Options) { o.Slot, o.ExactBytes = 10<<20, 5<<20 }, nil},
}

func TestFindings(t *testing.T) {
	for _, tt := range findings {
		t.Run(tt.name, func(t *testing.T) {
			opt := options()
			if tt.opt != nil {
				tt.opt(&opt)
			}
			if diff := cmp.Diff(tt.want, short(check(t, tt.base.with(tt.with), opt))); diff != "" {
				t.Errorf("findings differ (-want +got):\n%s", diff)
			}
		})
	}
}
