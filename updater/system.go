package updater

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
)

// A System is a disk with abupdate's layout and the boot state on it.
type System struct {
	dev    blockdev.Device
	name   string // of the disk, for messages
	disk   *partitions.Disk
	store  *bootctl.Store
	booted *bootctl.Booted // nil unless this machine booted from the disk
	spool  string
	// trustDirs are folders with keys that may be missing, trust are files and
	// folders that may not.
	trustDirs, trust []string

	close []func() error // called last to first
}

// Access says what a System is opened for.
type Access int

const (
	// Read takes no lock and writes nothing.
	Read Access = iota
	// Change takes the lock: one program at a time.
	Change
)

// OpenOptions says which disk to open, and as what. The zero value opens the
// disk that this machine booted from.
type OpenOptions struct {
	// Disk is a block device or a disk image file; "" is the disk that this
	// machine booted from.
	Disk   string
	Access Access
	// BootedPath is where abinit left word of the boot; "" is
	// bootctl.BootedPath.
	BootedPath string
	// LockPath is the lock of the disk that this machine booted from; "" is
	// LockPath.
	LockPath string
	// SpoolDir is the folder for layers on a booted disk; "" is SpoolDir.
	SpoolDir string
	// Trust are files and folders with public keys, besides those of TrustDirs.
	Trust []string
	// TrustDirs are where a booted disk's keys are; nil is the package's
	// TrustDirs. A disk that this machine did not boot from has none.
	TrustDirs []string
}

// ErrNotBooted says that this machine runs from no disk of abupdate's.
var ErrNotBooted = errors.New("this system was not booted by abupdate")

// Open opens a disk. Without OpenOptions.Disk it asks what abinit left in
// /run; on a machine that abinit did not boot the error is of kind
// fault.Usage.
func Open(opt OpenOptions) (*System, error) {
	booted, err := bootctl.ReadBooted(cmp.Or(opt.BootedPath, bootctl.BootedPath))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading what this system booted from: %w", err)
	}
	path := opt.Disk
	if path == "" {
		if booted == nil {
			return nil, fault.Errorf(fault.Usage, "%w: name a disk or an image file with --disk", ErrNotBooted)
		}
		path = booted.Disk
	}
	if booted != nil && !sameFile(path, booted.Disk) {
		booted = nil
	}
	s := &System{name: path, booted: booted, spool: cmp.Or(opt.SpoolDir, SpoolDir), trust: opt.Trust}
	if booted != nil {
		if s.trustDirs = opt.TrustDirs; s.trustDirs == nil {
			s.trustDirs = TrustDirs
		}
	}
	if err := s.open(path, opt); err != nil {
		s.Close()
		return nil, err
	}
	if booted != nil && booted.DiskGUID != "" && !strings.EqualFold(s.disk.GUID(), booted.DiskGUID) {
		s.Close()
		return nil, fmt.Errorf("%s has disk GUID %s; this system booted from %s", path, s.disk.GUID(), booted.DiskGUID)
	}
	return s, nil
}

func (s *System) open(path string, opt OpenOptions) error {
	mode := blockdev.ReadOnly
	if opt.Access == Change {
		mode = blockdev.Exclusive
		if s.booted != nil { // its partitions are in use, so the lock is elsewhere
			mode = blockdev.ReadWrite
			unlock, err := Lock(cmp.Or(opt.LockPath, LockPath))
			if err != nil {
				return err
			}
			s.close = append(s.close, unlock)
		}
	}
	dev, err := blockdev.Open(path, mode)
	switch {
	case errors.Is(err, blockdev.ErrInUse):
		return fault.Errorf(fault.Busy, "opening the disk: %w by another abupdate or program", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("opening the disk: %w (root is needed)", err)
	case err != nil:
		return fault.Errorf(fault.Usage, "opening the disk: %w", err)
	}
	s.close = append(s.close, dev.Close)
	return s.attach(dev)
}

// New returns a System on an open device, which stays the caller's; booted
// is nil unless this machine booted from it.
func New(dev blockdev.Device, booted *bootctl.Booted) (*System, error) {
	s := &System{name: "disk", booted: booted}
	return s, s.attach(dev)
}

func (s *System) attach(dev blockdev.Device) error {
	disk, err := partitions.Open(dev)
	if err != nil {
		return fmt.Errorf("reading the partitions of %s: %w", s.name, err)
	}
	state, err := disk.State()
	if err != nil {
		return fmt.Errorf("looking for the boot state on %s: %w", s.name, err)
	}
	s.dev, s.disk, s.store = dev, disk, bootctl.Open(state)
	return nil
}

// Close gives up the lock and closes the disk.
func (s *System) Close() error {
	var errs []error
	for i := len(s.close) - 1; i >= 0; i-- {
		errs = append(errs, s.close[i]())
	}
	s.close = nil
	return errors.Join(errs...)
}

// load reads the boot state.
func (s *System) load() (bootctl.State, error) {
	state, err := s.store.Load()
	if err != nil {
		return state, fmt.Errorf("reading the boot state of %s: %w", s.name, err)
	}
	return state, nil
}

// loadToChange reads the boot state for what will change it, or say that it was
// changed before.
func (s *System) loadToChange() (bootctl.State, error) {
	state, err := s.store.LoadToChange()
	if err != nil {
		return state, fmt.Errorf("reading the boot state of %s: %w", s.name, err)
	}
	return state, nil
}

// save writes the boot state.
func (s *System) save(state bootctl.State) error {
	if err := s.store.Save(state); err != nil {
		return fmt.Errorf("saving the boot state of %s: %w", s.name, err)
	}
	return nil
}

// slot returns the slot's partition.
func (s *System) slot(slot bootctl.Slot) (*blockdev.Section, error) {
	sec, err := s.disk.Slot(slot)
	if err != nil {
		return nil, fmt.Errorf("looking for slot %v on %s: %w", slot, s.name, err)
	}
	return sec, nil
}

// claim keeps others from mounting a slot while it is written, and fails with
// fault.Busy when one has. Image files need no claim: they are locked.
func (s *System) claim(slot bootctl.Slot) (release func() error, err error) {
	file, ok := s.dev.(*blockdev.File)
	if !ok || !file.IsBlock() || s.booted == nil {
		return func() error { return nil }, nil // opened exclusively as a whole
	}
	part, err := s.disk.SlotPartition(slot)
	if err != nil {
		return nil, fmt.Errorf("claiming slot %v: %w", slot, err)
	}
	dev, err := blockdev.Open(part.Node(s.name), blockdev.Exclusive)
	if errors.Is(err, blockdev.ErrInUse) {
		return nil, fault.Errorf(fault.Busy, "claiming slot %v: %w", slot, err)
	}
	if err != nil {
		return nil, fmt.Errorf("claiming slot %v: %w", slot, err)
	}
	return dev.Close, nil
}

// bootedSlot is the slot that this machine runs from the disk.
func (s *System) bootedSlot() bootctl.Slot {
	if s.booted == nil {
		return bootctl.SlotNone
	}
	return s.booted.Slot
}

// sameFile says whether two paths name one file, device nodes by their
// numbers.
func sameFile(a, b string) bool {
	ia, errA := os.Stat(a)
	ib, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(ia, ib)
}
