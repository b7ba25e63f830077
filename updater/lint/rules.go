package lint

import "slices"

// A Rule is a kind of finding.
type Rule struct {
	Name     string   `json:"name"`
	Severity Severity `json:"severity"`
	Title    string   `json:"title"`  // what is found, in a few words
	Reason   string   `json:"reason"` // why it matters
	Mend     string   `json:"mend"`
}

// A Group is rules about one side of an image.
type Group struct {
	Title string
	Rules []Rule
}

// Groups returns all rules, as docs/lint.md has them.
func Groups() []Group {
	return []Group{
		{"Kernel", kernelRules}, {"System", systemRules}, {"/var and links", dataRules},
		{"Secrets", secretRules}, {"Files", fileRules}, {"Size", sizeRules},
	}
}

// Rules returns all rules in one list.
func Rules() []Rule { return slices.Clone(rules) }

var rules = slices.Concat(kernelRules, systemRules, dataRules, secretRules, fileRules, sizeRules)

var ruleIndex = func() map[string]int {
	index := map[string]int{}
	for i, r := range rules {
		index[r.Name] = i
	}
	return index
}()

var kernelRules = []Rule{
	{"no-kernel", Error, "no kernel in the image",
		"the selector starts the image's own kernel, and build refuses an image without one",
		"install a kernel package; the kernel is expected at /usr/lib/modules/RELEASE/vmlinuz or /boot/vmlinuz-RELEASE"},
	{"several-kernels", Error, "more than one kernel",
		"one kernel is started, and build does not guess which",
		"remove all but one kernel with its modules"},
	{"kernel-without-modules", Error, "a kernel without a folder of modules",
		"abupdate does not take it for the image's kernel: its modules, even if there are none, tell its release",
		"install the modules of this kernel, or make the folder /usr/lib/modules/RELEASE when all is built in"},
	{"modules-without-kernel", Note, "modules that no kernel in the image can load",
		"they take room in the slot",
		"remove the folder"},
	{"kernel-release", Error, "the kernel's own release is another than its modules'",
		"the booted kernel calls itself otherwise than the slot's manifest, and the slot is refused",
		"name the folder and the kernel after what the kernel prints as uname -r"},
	{"kernel-no-verity", Error, "kernel without dm-verity",
		"the root is opened through dm-verity",
		"set CONFIG_BLK_DEV_DM and CONFIG_DM_VERITY to y or m, and install the modules"},
	{"kernel-no-squashfs", Error, "kernel without squashfs",
		"the root is a squashfs",
		"set CONFIG_SQUASHFS to y or m, and install the module"},
	{"kernel-no-decompressor", Error, "kernel whose squashfs does not read what build packs with",
		"that is zstd, unless build and lint are called with --compression",
		"set CONFIG_SQUASHFS_ZSTD=y, or CONFIG_SQUASHFS_ZLIB=y for --compression gzip"},
	{"kernel-no-overlay", Error, "kernel without overlayfs",
		"a tmpfs lies over the root through overlayfs",
		"set CONFIG_OVERLAY_FS to y or m, and install the module"},
	{"kernel-no-data-filesystem", Error, "kernel without the file system of /var",
		"/var cannot be mounted, and the boot fails",
		"set CONFIG_EXT4_FS (for an image with mkfs.btrfs alone: CONFIG_BTRFS_FS) to y or m, and install the module"},
	{"kernel-no-initramfs", Error, "kernel that takes no zstd initramfs",
		"the boot sequence is an initramfs packed with zstd",
		"set CONFIG_BLK_DEV_INITRD=y and CONFIG_RD_ZSTD=y"},
	{"kernel-no-efi-stub", Error, "kernel without the EFI stub",
		"UEFI starts the kernel as a part of a unified kernel image",
		"set CONFIG_EFI_STUB=y"},
	{"kernel-no-devtmpfs", Error, "kernel without devtmpfs or tmpfs",
		"the initramfs finds disks in a devtmpfs, and what is written to / lives in a tmpfs",
		"set CONFIG_DEVTMPFS=y and CONFIG_TMPFS=y"},
	{"kernel-no-disk-driver", Warning, "kernel without any of the usual disk drivers",
		"the initramfs loads virtio, NVMe, SATA, USB and MMC drivers; without one the boot disk is found only if another driver is built in",
		"install the modules of the device's disk controller"},
	{"kernel-config-unknown", Note, "the kernel's files do not tell what it can",
		"without modules.builtin and configuration it shows at the first boot only",
		"install /boot/config-RELEASE or /usr/lib/modules/RELEASE/config, and modules.builtin"},
	{"no-modules-dep", Error, "modules without modules.dep",
		"modprobe and udev load no module, so that most hardware does not work",
		"run depmod RELEASE while the image is made"},
	{"stale-modules-dep", Warning, "modules.dep does not fit the modules",
		"modprobe fails for these modules, or does not know them",
		"run depmod RELEASE after the last change to the modules"},
	{"unused-initramfs", Note, "an initramfs that nobody starts",
		"abupdate makes its own; this one takes room in the slot",
		"remove it, and keep the image's build from making it"},
}

var systemRules = []Rule{
	{"no-init", Error, "no init",
		"the initramfs starts the first of /sbin/init, /lib/systemd/systemd, /etc/init and /bin/init",
		"install systemd-sysv or another init"},
	{"not-a-program", Error, "a program that the kernel cannot start",
		"the boot needs it",
		"install the package that it comes from again"},
	{"missing-library", Error, "a program whose loader or libraries are not in the image",
		"it does not start; the boot needs it",
		"install the packages with these libraries, or a static program"},
	{"no-mkfs", Error, "neither mkfs.ext4 nor mkfs.btrfs",
		"the first boot, and each one after a factory reset, makes the file system of /var with the image's own mkfs",
		"install e2fsprogs"},
	{"no-fsck", Warning, "no e2fsck",
		"a damaged /var is not repaired, and may keep the device from booting",
		"install e2fsprogs"},
	{"no-architecture", Error, "the image does not say its architecture",
		"an update of no architecture is refused",
		"set the architecture in the image's configuration"},
	{"unsupported-architecture", Error, "an architecture that abupdate has no boot for",
		"disks are made for amd64 and arm64",
		"build the image for one of these"},
	{"architecture-mismatch", Error, "a program for another architecture than the image's",
		"the device cannot start it",
		"build the image for one architecture, and check --platform"},
	{"no-abupdate", Error, "no abupdate in the image",
		"the device can neither confirm a boot nor be updated: the slot is given up after its tries",
		"copy abupdate to /usr/bin/abupdate"},
	{"mark-good-not-enabled", Error, "nothing confirms a good boot",
		"a slot that nobody confirms is given up after its tries, and the device falls back",
		"install abupdate-mark-good.service, see README, and enable it: systemctl enable abupdate-mark-good.service"},
	{"mark-good-unknown", Note, "it does not show whether anything confirms a good boot",
		"a slot that nobody confirms is given up after its tries; lint knows systemd, OpenRC, System V's init and inittab",
		"let the init run abupdate health when the system is up"},
	{"no-default-target", Error, "systemd without default.target",
		"systemd has nothing to start",
		"install the whole of systemd, or run systemctl set-default multi-user.target"},
	{"dangling-unit", Warning, "a unit is enabled that is not there",
		"what was enabled does not start",
		"remove the link, or install what has the unit"},
	{"repart", Warning, "systemd-repart is set up to change the disk",
		"the partitions are abupdate's; /var is grown by the initramfs",
		"remove the files from repart.d, or mask systemd-repart.service"},
	{"package-updates", Warning, "a service updates the system by other means",
		"what it installs fills memory and is forgotten at reboot",
		"mask it: systemctl mask UNIT"},
	{"ssh-no-host-key", Warning, "sshd starts without a host key",
		"sshd refuses to start when it finds no key in /etc/ssh",
		"make the keys on the device in /var before sshd, and name them as HostKey in sshd_config"},
	{"ssh-host-key-changes", Warning, "ssh host keys are made anew at every boot",
		"/etc is forgotten at reboot, so that ssh clients see another key each time",
		"make the keys in /var, and name them as HostKey in sshd_config"},
	{"update-at-every-boot", Note, "caches are made again at every boot",
		"/etc seems to be older than /usr (ConditionNeedsUpdate=), and what is written to it is forgotten",
		"touch /etc/.updated as the last step of making the image"},
	{"never-first-boot", Note, "a unit waits for systemd's first boot",
		"a machine ID is there before init starts, so that ConditionFirstBoot= is never true",
		"use a condition on a file in /var instead"},
	{"fstab-root", Warning, "/etc/fstab mounts the root",
		"systemd remounts / with options that are not the overlay's, or waits for a device that is not there",
		"remove the line: the root is mounted before init starts"},
	{"fstab-var", Warning, "/etc/fstab mounts another /var",
		"/var is mounted before init starts; systemd waits for a device that is not there, or hides the data under one that is",
		"remove the line, or name the device by PARTLABEL=var"},
	{"fstab-device", Warning, "/etc/fstab names a device of one machine",
		"on other devices systemd waits for it, and the boot ends in emergency mode",
		"name it by PARTLABEL=, or add nofail"},
	{"resume", Note, "settings to resume from hibernation",
		"abupdate's initramfs does not resume",
		"remove them"},
	{"unused-cmdline", Note, "a kernel command line that nobody reads",
		"the selector's command line is given when the disk is made",
		"give the words to abupdate image --append"},
	{"selinux-unlabelled", Warning, "SELinux enforces, and no file has a label",
		"nothing labels the files on the device, so that services are forbidden to work",
		"label the files while the image is made, or set SELINUX=permissive"},
	{"no-os-release", Warning, "no os-release",
		"neither systemd nor abupdate knows what the system is",
		"install /usr/lib/os-release"},
	{"no-version", Warning, "an image without a version",
		"the version is then made from the digest and has no order: nothing stops a downgrade",
		"set the label org.opencontainers.image.version, or IMAGE_VERSION in os-release"},
	{"version-of-distribution", Note, "the only version is that of the distribution",
		"all images of one release have the same version, so that nothing tells them apart or stops a downgrade",
		"set the label org.opencontainers.image.version, or IMAGE_VERSION in os-release"},
}

var dataRules = []Rule{
	{"var-content", Warning, "files in /var that no tmpfiles.d line creates",
		"a device takes them over once, when it lacks them; what a later image changes in them does not arrive, nor does their removal",
		"move them to /usr and create them by tmpfiles.d (C or L), or remove them"},
	{"var-package-state", Note, "a package manager's state in /var",
		"on a device it stays what it was with the first image, whatever later images install",
		"do not ask a device's package manager; or move the state to /usr and link to it"},
	{"leftovers", Note, "caches and logs of the image's build",
		"they take room in the slot, and again in /var",
		"remove them in the layer that makes them: apt-get clean, rm -rf /var/lib/apt/lists/*"},
	{"var-special-file", Warning, "a device, FIFO or socket in /var",
		"it is not copied to a device's /var",
		"create it by tmpfiles.d (p, c, b) or by the service that uses it"},
	{"device-state", Error, "abupdate's state of one device",
		"every device would take over the same machine ID",
		"remove /var/lib/abupdate from the image"},
	{"home-not-kept", Note, "a home that is forgotten at reboot",
		"only /var stays",
		"make it a link into /var, as in /home -> var/home"},
	{"usr-link-to-var", Warning, "a link from /usr into /var",
		"the system depends on a file that is the device's own: it may be old, changed or gone",
		"let tmpfiles.d create what it leads to, or keep the file in /usr"},
	{"usr-link-outside", Note, "an absolute link out of /usr",
		"what it leads to is neither in /usr nor in /etc and may not be the image's own on a device",
		"keep the file in /usr"},
	{"dangling-link", Warning, "a link to something that is not there",
		"a program, library or configuration is missing",
		"install what it leads to, or remove the link"},
	{"hidden-content", Note, "files below /dev, /proc, /run or /sys",
		"other file systems cover them on a device",
		"remove them; tmpfiles.d creates what is wanted in /run"},
}

var secretRules = []Rule{
	{"ssh-host-key", Warning, "ssh host keys",
		"all devices have the same keys, and everyone who has the image has them",
		"remove /etc/ssh/ssh_host_*; make the keys on the device in /var"},
	{"private-key", Warning, "a private key",
		"everyone who has the image has it",
		"give it to each device on its own"},
	{"password-hash", Warning, "a password in the image",
		"all devices have it, and everyone who has the image can try to find it out",
		"give the account no password (usermod -p '*' USER), and use keys or a password of each device's own"},
	{"empty-password", Warning, "an account without a password",
		"everyone gets in who reaches a login",
		"lock the account: passwd -l"},
	{"credentials", Warning, "credentials for some service",
		"everyone who has the image has them",
		"remove the file; give it to the image's build as a secret, and to devices on their own"},
	{"history", Warning, "a history of commands",
		"it tells what was typed while the image was made, passwords too",
		"remove it"},
	{"device-identity", Warning, "a file that each device should have its own of",
		"all devices are taken for the same one, or draw the same random numbers",
		"remove it; it is made on the device"},
	{"machine-id", Note, "a machine ID",
		"it is not used: each device has its own, in /var",
		"leave /etc/machine-id empty"},
}

var fileRules = []Rule{
	{"setuid-writable", Warning, "a setuid or setgid program that everyone may change",
		"everyone can become its owner",
		"chmod o-w"},
	{"dropped-acl", Note, "POSIX ACLs that squashfs cannot hold",
		"who may read or write these files is no longer as meant",
		"use groups, or set the ACLs by tmpfiles.d (a, A)"},
	{"dropped-xattr", Note, "extended attributes that are left out",
		"squashfs cannot hold them, or the overlay would take them for its own",
		"do not rely on them"},
	{"time-range", Note, "a time that squashfs cannot hold",
		"it is changed to the nearest one from 1970 to 2106",
		"touch the file"},
	{"overlay-whiteout", Warning, "a character device 0:0",
		"the overlay takes it for the mark of a removed file: it is not seen",
		"remove it; it comes from another overlay's upper folder, often a container store"},
	{"not-read", Note, "a file was too large to look into",
		"what it would have shown is not known",
		"have a look at it"},
	{"unknown-ignore", Note, "a line of lint-ignore that is not understood",
		"it ignores nothing; it may be meant for another version of abupdate",
		"abupdate lint --list prints the names of all rules"},
}

var sizeRules = []Rule{
	{"slot-too-small", Error, "the image does not fit in the slot",
		"apply refuses it",
		"remove files from the image, build with --level best, or make disks with larger slots"},
	{"slot-tight", Warning, "the image takes more than 90 % of the slot",
		"the next version may not fit, and the slots of devices cannot grow",
		"remove files from the image, or make disks with larger slots"},
	{"slot-unknown", Note, "it does not show whether the image fits in the slot",
		"its size is only known when it is packed",
		"run lint with --exact"},
}
