// Package vm runs guests in QEMU for tests and for the demonstration: disks
// that are files, a console that can be read and typed into, and a guest agent
// that sends typed events and runs commands.
package vm

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// AgentPort is the name of the virtio-serial port that the guest's agent
// talks on.
const AgentPort = "abupdate.agent"

// A firmware is one of OVMF's images in Debian's package ovmf, with its
// variables as they are at first.
type firmware struct{ code, vars string }

var (
	ovmf       = firmware{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"}
	ovmfSecure = firmware{"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd"}
)

// What a guest with SecureBoot starts must be signed with this key, whose
// passphrase is "snakeoil". They come with Debian's package ovmf.
const (
	SecureBootKey  = "/usr/share/ovmf/PkKek-1-snakeoil.key"
	SecureBootCert = "/usr/share/ovmf/PkKek-1-snakeoil.pem"
)

func (c Config) firmware() firmware {
	if c.SecureBoot {
		return ovmfSecure
	}
	return ovmf
}

// A Config describes a guest. It boots Kernel directly when that is given,
// else through UEFI from its first disk.
type Config struct {
	// Kernel and Initrd are files; Append is the kernel's command line.
	Kernel, Initrd, Append string
	// Disks become virtio-blk disks, in order vda, vdb, ...
	Disks []Disk
	// MemoryMiB defaults to 256.
	MemoryMiB int
	// CPUs defaults to 1: tests run side by side.
	CPUs int
	// Vars is the file of UEFI variables; it is made when it does not exist.
	// Empty means one that lives as long as the guest.
	Vars string
	// SecureBoot makes UEFI enforce it.
	SecureBoot bool
	// Forward lets the guest reach a TCP service of this host, and nothing
	// else: guest address "10.0.2.100:5000" to host address "127.0.0.1:PORT".
	// A guest without any has no network.
	Forward map[string]string
	// NoReboot ends QEMU when the guest reboots.
	NoReboot bool
	// ConsoleLog receives everything that the guest prints; empty means none.
	ConsoleLog string
	// Args are further arguments for QEMU.
	Args []string
}

// A Disk is a raw image file, as a virtio-blk disk with a write-back cache: a
// killed QEMU loses what the guest has not written, never what it has.
type Disk struct {
	Path     string
	ReadOnly bool
	// Serial is the disk's serial number, at most 20 bytes.
	Serial string
	// NoBootIndex leaves the order to the firmware's variables, which it would
	// write anew at each boot.
	NoBootIndex bool
	// WriteLog is a file that is made anew, and gets every write and flush of
	// the disk in the format that package internal/logwrites reads.
	WriteLog string
}

func (c Config) check() error {
	switch {
	case c.Kernel == "" && len(c.Disks) == 0:
		return errors.New("starting guest: neither a kernel nor a disk to boot from")
	case c.SecureBoot && c.Kernel != "":
		return errors.New("starting guest: Secure Boot without UEFI")
	case c.Kernel == "" && (c.Initrd != "" || c.Append != ""):
		return errors.New("starting guest: initrd or command line without a kernel")
	}
	for guest, host := range c.Forward {
		if a, err := netip.ParseAddrPort(host); err != nil || !a.Addr().Is4() {
			return fmt.Errorf("starting guest: forwarding %s to %q, which is not an IPv4 address with port", guest, host)
		}
	}
	for _, d := range c.Disks {
		if _, err := os.Stat(d.Path); err != nil {
			return fmt.Errorf("starting guest: %w", err)
		}
		if d.WriteLog != "" && d.ReadOnly {
			return fmt.Errorf("starting guest: a log of the writes of %s, which is read only", d.Path)
		}
	}
	return nil
}

// makeLogs makes the logs of writes, empty: QEMU wants a file that it can grow.
func (c Config) makeLogs() error {
	for _, d := range c.Disks {
		if d.WriteLog == "" {
			continue
		}
		if err := os.WriteFile(d.WriteLog, nil, 0o600); err != nil {
			return fmt.Errorf("making log of writes: %w", err)
		}
	}
	return nil
}

// args returns QEMU's arguments without those for the console and the agent,
// which differ between our own run and one by hand.
func (c Config) args(vars string) []string {
	accel := os.Getenv("ABUPDATE_QEMU_ACCEL")
	if accel == "" {
		// KVM may open and then hang the guest on nested machines, so it is
		// asked for, never guessed.
		accel = "tcg,thread=multi"
	}
	mem := c.MemoryMiB
	if mem == 0 {
		mem = 256
	}
	machine := "q35"
	if c.SecureBoot {
		machine += ",smm=on"
	}
	a := []string{"-machine", machine, "-accel", accel, "-cpu", "max", "-smp", strconv.Itoa(max(c.CPUs, 1)), "-m", strconv.Itoa(mem),
		"-nodefaults", "-no-user-config", "-display", "none"}
	if c.NoReboot {
		a = append(a, "-no-reboot")
	}
	if c.Kernel != "" {
		a = append(a, "-kernel", c.Kernel)
		if c.Initrd != "" {
			a = append(a, "-initrd", c.Initrd)
		}
		if c.Append != "" {
			a = append(a, "-append", c.Append)
		}
	} else {
		a = append(a, "-drive", "if=pflash,format=raw,readonly=on,file="+comma(c.firmware().code),
			"-drive", "if=pflash,format=raw,file="+comma(vars))
		if c.SecureBoot {
			// Only the firmware, in system management mode, writes variables.
			a = append(a, "-global", "driver=cfi.pflash01,property=secure,value=on")
		}
	}
	for i, d := range c.Disks {
		a = append(a, d.args(i, i == 0 && c.Kernel == "")...)
	}
	if len(c.Forward) > 0 {
		a = append(a, "-netdev", c.netdev(), "-device", "virtio-net-pci,netdev=net0,romfile=")
	}
	return append(a, c.Args...)
}

func (d Disk) args(i int, boot bool) []string {
	id := "disk" + strconv.Itoa(i)
	drive := []string{"-drive", "if=none,format=raw,cache=writeback,id=" + id + ",file=" + comma(d.Path)}
	if d.ReadOnly {
		drive[1] += ",readonly=on"
	}
	if d.WriteLog != "" {
		drive = d.logged(id)
	}
	dev := "virtio-blk-pci,drive=" + id
	if d.Serial != "" {
		dev += ",serial=" + comma(d.Serial)
	}
	if boot && !d.NoBootIndex {
		dev += ",bootindex=0"
	}
	return append(drive, "-device", dev)
}

// logged is the disk with its log below it. The log's head is written at each
// flush; the interval is for logs without any.
func (d Disk) logged(id string) []string {
	return []string{
		"-blockdev", "driver=file,node-name=" + id + "-data,filename=" + comma(d.Path),
		"-blockdev", "driver=file,node-name=" + id + "-log,filename=" + comma(d.WriteLog),
		"-blockdev", "driver=blklogwrites,node-name=" + id + ",file=" + id + "-data,log=" + id + "-log,log-sector-size=512,log-super-update-interval=4096",
	}
}

func (c Config) netdev() string {
	var b strings.Builder
	b.WriteString("user,id=net0,restrict=on")
	for _, guest := range sortedKeys(c.Forward) {
		host, port, _ := strings.Cut(c.Forward[guest], ":")
		fmt.Fprintf(&b, ",guestfwd=tcp:%s-cmd:bash -c '%s'", guest, comma(fmt.Sprintf(relay, host, port)))
	}
	return b.String()
}

// relay copies between one connection of the guest, on descriptors 0 and 1,
// and a new one of the host, until either ends. QEMU's own "-tcp:" puts all of
// the guest's connections into a single one, where the rest of an answer that
// a reset cut off would become the start of the next answer.
const relay = "exec 3<>/dev/tcp/%s/%s || exit; cat <&3 & cat <&0 >&3 & wait -n; kill $(jobs -p) 2>/dev/null"

// comma doubles commas, as QEMU's option syntax wants it.
func comma(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// Command returns a shell command that starts the same guest by hand, with its
// console on the terminal.
func (c Config) Command() string {
	vars := c.Vars
	if vars == "" && c.Kernel == "" {
		vars = "vars.fd"
	}
	var b strings.Builder
	if c.Kernel == "" {
		if _, err := os.Stat(vars); err != nil {
			fmt.Fprintf(&b, "cp %s %s && ", c.firmware().vars, quote(vars))
		}
	}
	b.WriteString(binary())
	for _, a := range append(c.args(vars), "-serial", "mon:stdio") {
		b.WriteString(" " + quote(a))
	}
	return b.String()
}

func binary() string {
	if q := os.Getenv("ABUPDATE_QEMU"); q != "" {
		return q
	}
	return "qemu-system-x86_64"
}

func quote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+,./:@%"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
