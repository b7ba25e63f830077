// Package machine boots disks in memory: initramfs.Boot, the selector's own
// code, over a System that is a folder and a block device. What Linux would
// read of a slot sooner or later is read at once, block by block.
package machine

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/initramfs"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery"
	"github.com/abupdate/abupdate/recovery/recoverytest"
	"github.com/abupdate/abupdate/verity/dm"
)

// An Ending is how a machine's boots ended.
type Ending string

const (
	Up         Ending = "a system is up"
	InRecovery Ending = "recovery waits"
	Stranded   Ending = "neither"
)

// An Outcome is what a machine came to.
type Outcome struct {
	End      Ending
	Slot     bootctl.Slot
	RootHash string // of the slot that is up; all of its blocks were read
	Version  string
	Boots    int
	Log      []string
}

func (o Outcome) String() string {
	return fmt.Sprintf("%s: slot %v, version %q after %d boots; log %q", o.End, o.Slot, o.Version, o.Boots, o.Log)
}

// maxBoots is more than any count in the boot state allows: two good slots are
// given up after 8 failed boots, taken back once, and given up after 8 more.
const maxBoots = 40

// Start boots a disk again and again until something stays.
func Start(dev blockdev.Device) Outcome { return StartRelease(dev, recoverytest.Kernel) }

// StartRelease is Start of a machine whose kernel is of this release.
func StartRelease(dev blockdev.Device, release string) Outcome {
	var o Outcome
	for o.Boots = 1; o.Boots <= maxBoots; o.Boots++ {
		m := boot(dev, "", release)
		o.Log = append(o.Log, m.Messages...)
		switch {
		case m.Switched:
			o.End, o.Slot, o.RootHash, o.Version = Up, m.Slot, m.Content.Manifest.RootHash, m.Content.Manifest.Version
			return o
		case m.waited:
			o.End = InRecovery
			return o
		}
	}
	o.End = Stranded
	return o
}

// BootOnce runs the boot sequence; keys are typed at its console.
func BootOnce(dev blockdev.Device, keys string) *Machine {
	return boot(dev, keys, recoverytest.Kernel)
}

func boot(dev blockdev.Device, keys, release string) *Machine {
	r, err := takeRoot()
	if err != nil {
		panic(err)
	}
	m := &Machine{dev: dev, root: r, keys: keys, release: release}
	done := make(chan struct{})
	go func() { // which ends without returning when recovery waits
		defer close(done)
		if err := initramfs.Boot(m); err != nil {
			m.Messages = append(m.Messages, err.Error())
		}
	}()
	<-done
	if err := r.release(m.Switched); err != nil {
		panic(err)
	}
	return m
}

var (
	_ initramfs.System = (*Machine)(nil)
	_ recovery.Console = (*Machine)(nil)
)

// A Machine is a System in memory around a disk.
type Machine struct {
	dev     blockdev.Device
	root    *root
	keys    string
	release string
	clock   time.Duration

	// What a boot came to: messages, the slot whose verity device was opened
	// last, what it holds, and whether its init was started.
	Messages []string
	Slot     bootctl.Slot
	Content  *partitions.SlotContent
	Switched bool

	readErr error // what reading the mapped slot gives
	waited  bool
	restart recovery.Restart
}

func (m *Machine) Root() string      { return m.root.dir() }
func (m *Machine) Release() string   { return m.release }
func (m *Machine) Args() []string    { return nil }
func (m *Machine) Environ() []string { return nil }

// Mount knows the places where something of an image comes to lie.
func (m *Machine) Mount(mount initramfs.Mount) error {
	switch {
	case mount.Type == "squashfs":
		if m.readErr != nil { // restart_on_corruption
			return m.readErr
		}
		return m.root.mount("lower", mount.Target, m.Content.Manifest.Version)
	case mount.Type == "overlay" && mount.Target == "/sysroot":
		return m.root.mount("overlay", mount.Target, m.Content.Manifest.Version)
	}
	return nil
}

func (m *Machine) Unmount(string) error            { return nil }
func (m *Machine) LoadModule(string, string) error { return nil }

func (m *Machine) FindDisk(partitions.Hint) (*initramfs.Disk, error) {
	return &initramfs.Disk{Path: "/dev/vda", Dev: m.dev}, nil
}

func (m *Machine) ShowPartition(*initramfs.Disk, partitions.Partition) error { return nil }

// OpenVerity reads the whole slot as the kernel would, sooner or later: a block
// that does not match restarts the machine.
func (m *Machine) OpenVerity(t dm.Target) (string, error) {
	layout, err := partitions.Open(m.dev)
	if err != nil {
		return "", err
	}
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		p, err := layout.SlotPartition(slot)
		if err != nil || p.Node("/dev/vda") != t.Device {
			continue
		}
		m.Slot = slot
		m.Content, m.readErr = readAll(layout, slot, t.RootHash)
		if m.Content == nil {
			return "", m.readErr
		}
	}
	return "/dev/dm-0", nil
}

// readAll reads a slot as a whole: footer, manifest, tree and every block.
func readAll(layout *partitions.Disk, slot bootctl.Slot, rootHash []byte) (*partitions.SlotContent, error) {
	dev, err := layout.Slot(slot)
	if err != nil {
		return nil, err
	}
	c, err := partitions.ReadSlot(dev)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(c.Footer.RootHash[:], rootHash) {
		return nil, fmt.Errorf("slot %v is opened with another root hash than its own", slot)
	}
	tree, err := c.Tree(dev)
	if err != nil {
		return c, err
	}
	image, err := c.Image(dev)
	if err != nil {
		return c, err
	}
	return c, tree.VerifyData(context.Background(), image, nil)
}

// Promised checks what the boot state says of the slots: one that it lets boot,
// now or by order, is whole, and is the one that it says.
func Promised(dev blockdev.Device) error {
	layout, err := partitions.Open(dev)
	if err != nil {
		return err
	}
	sec, err := layout.State()
	if err != nil {
		return err
	}
	state, err := bootctl.Open(sec).Load()
	if err != nil {
		return err
	}
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		s := state.Slot(slot)
		if s.Status != bootctl.Good && s.Status != bootctl.Pending && s.Status != bootctl.Held {
			continue
		}
		rootHash, err := hex.DecodeString(s.RootHash)
		if err != nil {
			return err
		}
		if _, err := readAll(layout, slot, rootHash); err != nil {
			return fmt.Errorf("slot %v is %v by the boot state: %w", slot, s.Status, err)
		}
	}
	return nil
}

func (m *Machine) GrowFilesystem(string, string, int64) error { return nil }
func (m *Machine) SyncFilesystem(string) error                { return m.dev.Sync() }
func (m *Machine) Lchown(string, uint32, uint32) error        { return nil }

func (m *Machine) Run(c initramfs.Command) (initramfs.Result, error) {
	if filepath.Base(c.Path) == "mkfs.ext4" {
		return initramfs.Result{}, m.mkfs()
	}
	return initramfs.Result{}, nil
}

// mkfs writes what the boot sequence knows ext4 by.
func (m *Machine) mkfs() error {
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

func (m *Machine) Random(p []byte) error {
	for i := range p {
		p[i] = byte(i + 1)
	}
	return nil
}

func (m *Machine) Console() recovery.Console                         { return m }
func (m *Machine) Log(_ bool, line string)                           { m.Messages = append(m.Messages, line) }
func (m *Machine) Uptime() time.Duration                             { return m.clock }
func (m *Machine) Sleep(d time.Duration)                             { m.clock += d }
func (m *Machine) ArmWatchdog(time.Duration) (bool, error)           { return true, nil }
func (m *Machine) Settle()                                           {}
func (m *Machine) Alive()                                            {}
func (m *Machine) BridgeWatchdog(time.Duration, time.Duration) error { return nil }
func (m *Machine) Restart(how recovery.Restart)                      { m.restart = how }
func (m *Machine) StartKernel() error                                { return errors.New("no other kernel") }
func (m *Machine) Write(p []byte) (int, error)                       { return len(p), nil }
func (m *Machine) Interactive() bool                                 { return true }
func (m *Machine) SwitchRoot(string, string, []string, []string) error {
	m.Switched = true
	return nil
}

func (m *Machine) LoadKernel(string, func(io.Writer) error, string) error {
	return errors.New("no other kernel")
}

// ReadKey types; a machine that waits for hours waits for a person.
func (m *Machine) ReadKey(d time.Duration) (byte, bool) {
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
