package main

import "strings"

// debianPackages are what the root holds besides Debian's minimal set: a
// server with containers, scripting languages and the full kernel. With what
// they depend on they are some 330 packages.
var debianPackages = strings.Fields(`
	adduser apparmor apt-utils bash-completion btrfs-progs bzip2 ca-certificates cron cryptsetup curl
	dbus debconf-utils dmidecode dmsetup dosfstools e2fsprogs ethtool file git gnupg hdparm htop iftop
	ifupdown iperf3 iproute2 iptables iputils-ping jq less libnss-myhostname linux-image-amd64 locales
	logrotate lsof lvm2 man-db mdadm mtr-tiny nano netcat-openbsd nftables nginx nvme-cli
	openssh-server parted patch pciutils perl podman polkitd procps psmisc python3 python3-cryptography
	python3-jinja2 python3-psutil python3-requests python3-yaml rsync rsyslog screen smartmontools
	socat sqlite3 strace sudo systemd systemd-resolved systemd-sysv systemd-timesyncd tcpdump tmux tree
	tzdata udev unattended-upgrades unzip usbutils uuid-runtime wget xz-utils zip zstd vim-tiny
`)
