package initramfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery"
)

// Where things are in the initramfs. What is below /run goes along into the
// new root.
const (
	modulesPath = "/etc/abupdate/modules"
	newRoot     = "/sysroot"
	lowerDir    = "/run/abupdate/lower"   // the verified squashfs
	overlayDir  = "/run/abupdate/overlay" // tmpfs with upper and work
	efiVars     = "/sys/firmware/efi/efivars"
	loaderVar   = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
)

const (
	diskWait  = 30 * time.Second
	diskPoll  = 50 * time.Millisecond
	keyWindow = time.Second // from the start of PID 1 on, not on top of it
	menuIdle  = time.Minute // a boot menu that noise has opened closes again
)

// A boot is one run of the sequence.
type boot struct {
	sys     System
	start   time.Duration
	line    string // the kernel's command line
	cmdline Cmdline
	// pin is what the selector chose, when it went over to this kernel.
	pin *pin

	disk   *Disk
	layout *partitions.Disk
	store  *bootctl.Store
	state  bootctl.State
	// readOnly says why the state must not be saved; "" when it can be.
	readOnly string
	watched  bool // a watchdog is armed
	// uncountable says that this boot is one that nothing was saved of.
	uncountable bool
	// tried is the slot that the decrement was saved for: a failure from
	// there on is held against it.
	tried bootctl.Slot
	// signedOnly says that the slot was started because of its signature, and
	// that one without would not be.
	signedOnly bool
}

// Boot runs the sequence to its end: the image's init, recovery, or a reboot.
// On a real machine it does not return. A panic of its own code is a failure
// like any other.
func Boot(sys System) (err error) {
	b := &boot{sys: sys, start: sys.Uptime()}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("internal error: %v", r)
		}
		if err != nil {
			err = b.fail(err)
		}
	}()
	return b.run()
}

func (b *boot) run() error {
	if err := b.prepare(); err != nil {
		return err
	}
	if err := b.findDisk(); err != nil {
		return err
	}
	b.mark("disk")
	if err := b.loadState(); err != nil {
		return err
	}
	choice, err := b.choose()
	if err != nil || choice.Slot == bootctl.SlotNone {
		return err // none: the machine is going down by order
	}
	b.mark("state")
	return b.startSlot(choice)
}

// fail saves why this boot failed and reboots. The try was taken off before
// the slot was touched, so that nothing depends on this save. A boot that
// nothing counts would fail again and again: that is for a person, who may end
// it without an error.
func (b *boot) fail(err error) error {
	b.sys.Log(true, err.Error())
	if b.uncountable {
		b.goDown(b.recover(err.Error()))
		return nil
	}
	if b.tried != bootctl.SlotNone {
		b.state = b.state.FailBoot(b.tried, err.Error())
		if saveErr := b.save(b.state); saveErr != nil {
			b.sys.Log(true, saveErr.Error())
		}
	}
	// Time to read it; longer where the same will happen again at once.
	wait := 2 * time.Second
	if b.store == nil {
		wait = 10 * time.Second
	}
	b.sys.Log(true, "rebooting")
	b.sys.Sleep(wait)
	b.sys.Restart(recovery.Reboot)
	return err
}

// save keeps the state, unless it must be left alone.
func (b *boot) save(s bootctl.State) error {
	if b.readOnly != "" {
		return nil
	}
	return b.store.Save(s)
}

// Save implements recovery.Saver.
func (b *boot) Save(s bootctl.State) error { return b.save(s) }

func (b *boot) path(name string) string { return filepath.Join(b.sys.Root(), name) }

func (b *boot) debug(format string, args ...any) {
	if b.cmdline.Debug {
		b.sys.Log(false, fmt.Sprintf("%v ", b.sys.Uptime().Round(time.Millisecond))+fmt.Sprintf(format, args...))
	}
}

func (b *boot) warn(err error) {
	if err != nil {
		b.sys.Log(false, "warning: "+err.Error())
	}
}

var pseudo = []Mount{
	{"proc", "/proc", "proc", "", NoSuid | NoDev | NoExec},
	{"sysfs", "/sys", "sysfs", "", NoSuid | NoDev | NoExec},
	{"devtmpfs", "/dev", "devtmpfs", "mode=0755", NoSuid},
	{"tmpfs", "/run", "tmpfs", "mode=0755,size=20%", NoSuid | NoDev},
}

// prepare mounts what the kernel offers, reads the command line and loads the
// modules.
func (b *boot) prepare() error {
	for _, m := range pseudo {
		if err := os.MkdirAll(b.path(m.Target), 0o755); err != nil {
			return err
		}
		if err := b.sys.Mount(m); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m.Type, m.Target, err)
		}
	}
	b.sys.Settle()
	// Without this the kernel drops most of what is written to /dev/kmsg.
	b.setKernel("printk_devkmsg", "on")
	line, err := readFile(b.path("/proc/cmdline"))
	if err != nil {
		return err
	}
	b.line = strings.TrimSpace(string(line))
	b.cmdline = ParseCmdline(b.line)
	for _, w := range b.cmdline.Warnings {
		b.sys.Log(true, w)
	}
	if err := b.readPin(); err != nil {
		return err
	}
	// An init that ends panics the kernel; without panic= that would be the
	// end of the device instead of a counted boot.
	if p, err := readFile(b.path("/proc/sys/kernel/panic")); err == nil && strings.TrimSpace(string(p)) == "0" {
		b.setKernel("panic", "5")
	}
	b.mark("start")
	b.armWatchdog()
	if err := b.loadModules(); err != nil {
		return err
	}
	b.mark("modules")
	return nil
}

// setKernel sets a kernel parameter, where the kernel has it and lets it be
// set: printk.devkmsg on the command line forbids that.
func (b *boot) setKernel(name, value string) {
	if err := os.WriteFile(b.path("/proc/sys/kernel/"+name), []byte(value+"\n"), 0); err != nil {
		b.debug("%v", err)
	}
}

// findDisk waits until the boot disk is there and reads its layout.
func (b *boot) findDisk() error {
	hint := partitions.Hint{Loader: b.loaderPartition(), DiskPartUUID: b.cmdline.Disk}
	for end := b.sys.Uptime() + diskWait; ; b.sys.Sleep(diskPoll) {
		d, err := b.sys.FindDisk(hint)
		if err == nil {
			b.disk = d
			break
		}
		if b.sys.Uptime() >= end || errors.Is(err, partitions.ErrAmbiguous) {
			return fmt.Errorf("finding the boot disk: %w", err)
		}
	}
	b.debug("boot disk is %s", b.disk.Path)
	return b.readLayout()
}

// readLayout reads the partition table, and makes the kernel see the
// partitions when it could not read its damaged primary copy.
func (b *boot) readLayout() error {
	layout, err := partitions.Open(b.disk.Dev)
	if err != nil {
		return fmt.Errorf("reading the layout of %s: %w", b.disk.Path, err)
	}
	b.layout = layout
	if !layout.FromBackup() {
		return nil
	}
	b.sys.Log(true, "the partition table is damaged; going on with its backup")
	for _, p := range layout.Partitions() {
		if err := b.sys.ShowPartition(b.disk, p); err != nil {
			return fmt.Errorf("showing partition %d to the kernel: %w", p.Number, err)
		}
	}
	return nil
}

// loaderPartition is what the boot loader says of where it came from; "" on a
// machine without EFI or without such a word.
func (b *boot) loaderPartition() string {
	if _, err := os.Stat(b.path(filepath.Dir(efiVars))); err != nil {
		return ""
	}
	if err := b.sys.Mount(Mount{"efivarfs", efiVars, "efivarfs", "", NoSuid | NoDev | NoExec}); err != nil {
		b.debug("mounting efivarfs: %v", err)
		return ""
	}
	raw, err := readFile(b.path(efiVars + "/" + loaderVar))
	if err != nil {
		b.debug("reading the loader's partition: %v", err)
		return ""
	}
	return decodeEFIString(raw)
}

// decodeEFIString reads an EFI variable that holds UTF-16 text: four bytes of
// attributes, then the text, NUL-terminated. GUIDs are all ASCII.
func decodeEFIString(raw []byte) string {
	var s []byte
	for i := 4; i+1 < len(raw) && (raw[i] != 0 || raw[i+1] != 0); i += 2 {
		if raw[i+1] != 0 || raw[i] >= 0x80 {
			return ""
		}
		s = append(s, raw[i])
	}
	return strings.ToLower(string(s))
}
