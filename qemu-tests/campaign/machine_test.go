package campaign_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/initramfs"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery"
	"github.com/abupdate/abupdate/recovery/recoverytest"
	"github.com/abupdate/abupdate/verity/dm"
)

// An ending is how a machine's boots ended.
type ending string

const (
	up         ending = "a system is up"
	inRecovery ending = "recovery waits"
	stranded   ending = "neither"
)

// An outcome is what a machine came to.
type outcome struct {
	end      ending
	slot     bootctl.Slot
	rootHash string // of the slot that is up; all of its blocks were read
	version  string
	boots    int
	log      []string
}

func (o outcome) String() string {
	return fmt.Sprintf("%s: slot %v, version %q after %d boots; log %q", o.end, o.slot, o.version, o.boots, o.log)
}

// maxBoots is more than any count in the boot state allows.
const maxBoots = 24

// start boots a disk again and again until something stays.
func start(dev blockdev.Device) outcome {
	var o outcome
	for o.boots = 1; o.boots <= maxBoots; o.boots++ {
		m := bootOnce(dev, "")
		o.log = append(o.log, m.log...)
		switch {
		case m.switched:
			o.end, o.slot, o.rootHash, o.version = up, m.slot, m.content.Manifest.RootHash, m.content.Manifest.Version
			return o
		case m.waited:
			o.end = inRecovery
			return o
		}
	}
	o.end = stranded
	return o
}

// bootOnce runs the boot sequence; keys are typed at its console.
func bootOnce(dev blockdev.Device, keys string) *machine {
	root, err := os.MkdirTemp(memoryDir(), "campaign-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(root)
	m := &machine{dev: dev, root: root, keys: keys}
	done := make(chan struct{})
	go func() { // which ends without returning when recovery waits
		defer close(done)
		if err := initramfs.Boot(m); err != nil {
			m.log = append(m.log, err.Error())
		}
	}()
	<-done
	return m
}

// memoryDir is a folder in memory: a campaign makes millions of small files.
func memoryDir() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return ""
}

var (
	_ initramfs.System = (*machine)(nil)
	_ recovery.Console = (*machine)(nil)
)

// A machine is a System in memory around a disk.
type machine struct {
	dev   blockdev.Device
	root  string
	keys  string
	clock time.Duration
	log   []string

	slot     bootctl.Slot
	content  *partitions.SlotContent
	readErr  error // what reading the mapped slot gives
	switched bool
	waited   bool
	restart  recovery.Restart
}

func (m *machine) Root() string      { return m.root }
func (m *machine) Release() string   { return recoverytest.Kernel }
func (m *machine) Args() []string    { return nil }
func (m *machine) Environ() []string { return nil }

// files are what the images' roots hold, as far as the boot sequence looks.
var files = map[string]string{
	"sbin/init": "#!", "usr/sbin/mkfs.ext4": "#!", "usr/sbin/e2fsck": "#!", "var/lib/app/default": "as shipped", "etc/hostname": "device",
}

// noInit in a version says that its image does not boot.
const noInit = "noinit"

func (m *machine) put(dir string) error {
	for name, text := range files {
		if name == "sbin/init" && strings.Contains(m.content.Manifest.Version, noInit) {
			continue
		}
		p := filepath.Join(m.root, dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o755)); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) Mount(mount initramfs.Mount) error {
	target := filepath.Join(m.root, mount.Target)
	switch {
	case mount.Type == "proc":
		return os.WriteFile(filepath.Join(target, "cmdline"), []byte("abupdate.menu=0\n"), 0o644)
	case mount.Type == "squashfs":
		if m.readErr != nil { // restart_on_corruption
			return m.readErr
		}
		return m.put(mount.Target)
	case mount.Type == "overlay" && mount.Target == "/sysroot":
		return m.put(mount.Target)
	}
	return nil
}

func (m *machine) Unmount(string) error            { return nil }
func (m *machine) LoadModule(string, string) error { return nil }

func (m *machine) FindDisk(partitions.Hint) (*initramfs.Disk, error) {
	return &initramfs.Disk{Path: "/dev/vda", Dev: m.dev}, nil
}

func (m *machine) ShowPartition(*initramfs.Disk, partitions.Partition) error { return nil }

// OpenVerity reads the whole slot as the kernel would, sooner or later: a block
// that does not match restarts the machine.
func (m *machine) OpenVerity(t dm.Target) (string, error) {
	layout, err := partitions.Open(m.dev)
	if err != nil {
		return "", err
	}
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		p, err := layout.SlotPartition(slot)
		if err != nil || p.Node("/dev/vda") != t.Device {
			continue
		}
		m.slot = slot
		m.content, m.readErr = readAll(layout, slot, t.RootHash)
		if m.content == nil {
			return "", m.readErr
		}
	}
	return "/dev/dm-0", nil
}

func (m *machine) GrowFilesystem(string, string, int64) error { return nil }
func (m *machine) SyncFilesystem(string) error                { return m.dev.Sync() }
func (m *machine) Lchown(string, uint32, uint32) error        { return nil }

func (m *machine) Run(c initramfs.Command) (initramfs.Result, error) {
	if filepath.Base(c.Path) == "mkfs.ext4" {
		return initramfs.Result{}, m.mkfs()
	}
	return initramfs.Result{}, nil
}

// mkfs writes what the boot sequence knows ext4 by.
func (m *machine) mkfs() error {
	layout, err := partitions.Open(m.dev)
	if err != nil {
		return err
	}
	sec, err := layout.Section(partitions.LabelVar)
	if err != nil {
		return err
	}
	sb := make([]byte, 1024)
	binary.LittleEndian.PutUint32(sb[0x4:], uint32(sec.Size()/4096))
	binary.LittleEndian.PutUint32(sb[0x18:], 2)
	copy(sb[0x38:], "\x53\xef\x01\x00")
	if _, err := sec.WriteAt(sb, 1024); err != nil {
		return err
	}
	return sec.Sync()
}

func (m *machine) Random(p []byte) error {
	for i := range p {
		p[i] = byte(i + 1)
	}
	return nil
}

func (m *machine) Console() recovery.Console               { return m }
func (m *machine) Log(_ bool, line string)                 { m.log = append(m.log, line) }
func (m *machine) Uptime() time.Duration                   { return m.clock }
func (m *machine) Sleep(d time.Duration)                   { m.clock += d }
func (m *machine) ArmWatchdog(time.Duration) (bool, error) { return true, nil }
func (m *machine) Alive()                                  {}
func (m *machine) Restart(how recovery.Restart)            { m.restart = how }
func (m *machine) StartKernel() error                      { return errors.New("no other kernel") }
func (m *machine) Write(p []byte) (int, error)             { return len(p), nil }
func (m *machine) Interactive() bool                       { return true }
func (m *machine) SwitchRoot(string, string, []string, []string) error {
	m.switched = true
	return nil
}

func (m *machine) LoadKernel(string, func(io.Writer) error, string) error {
	return errors.New("no other kernel")
}

// ReadKey types; a machine that waits for hours waits for a person.
func (m *machine) ReadKey(d time.Duration) (byte, bool) {
	if m.keys != "" {
		key := m.keys[0]
		m.keys = m.keys[1:]
		return key, true
	}
	if m.clock += d; m.clock > 12*time.Hour {
		m.waited = true
		runtime.Goexit()
	}
	return 0, false
}
