package updatertest

import (
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater"
)

// SlotSize is that of each slot of a Disk.
const SlotSize = disk.MinSlot

// Disk makes a disk image file whose slot A holds ref and is good, and returns
// its path.
func Disk(tb testing.TB, ref string) string {
	tb.Helper()
	path := EmptyDisk(tb)
	sys, err := updater.Open(updater.OpenOptions{Disk: path, Access: updater.Change, BootedPath: filepath.Join(tb.TempDir(), "none")})
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := sys.Apply(tb.Context(), updater.ApplyOptions{Ref: ref}); err != nil {
		tb.Fatalf("filling slot A of a test disk: %v", err)
	}
	if err := sys.Close(); err != nil {
		tb.Fatal(err)
	}
	EditState(tb, path, func(s bootctl.State) bootctl.State {
		return bootctl.New().Install(bootctl.SlotA, s.Slot(bootctl.SlotA).Info())
	})
	return path
}

// EmptyDisk makes a disk image file with two empty slots.
func EmptyDisk(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "disk.raw")
	layout := disk.Layout{ESP: disk.MinESP, Slot: SlotSize, Var: disk.MinVar}
	dev, d, err := disk.CreateFile(path, 0, layout, disk.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	defer dev.Close()
	sec, err := d.State()
	if err != nil {
		tb.Fatal(err)
	}
	if err := bootctl.Format(sec, bootctl.New()); err != nil {
		tb.Fatal(err)
	}
	return path
}

// EditState changes the boot state of a disk image file.
func EditState(tb testing.TB, path string, edit func(bootctl.State) bootctl.State) {
	tb.Helper()
	dev, err := blockdev.Open(path, blockdev.ReadWrite)
	if err != nil {
		tb.Fatal(err)
	}
	defer dev.Close()
	store := Store(tb, dev)
	state, err := store.Load()
	if err != nil {
		tb.Fatal(err)
	}
	state = edit(state)
	for range 2 { // both records: a test that makes one unreadable sees this state too
		if err := store.Save(state); err != nil {
			tb.Fatal(err)
		}
	}
}

// State reads the boot state of a disk.
func State(tb testing.TB, dev blockdev.Device) bootctl.State {
	tb.Helper()
	state, err := Store(tb, dev).Load()
	if err != nil {
		tb.Fatal(err)
	}
	return state
}

// OpenDisk opens a disk image file until the test ends.
func OpenDisk(tb testing.TB, path string) *partitions.Disk {
	tb.Helper()
	dev, err := blockdev.Open(path, blockdev.ReadWrite)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { dev.Close() })
	return DiskOn(tb, dev)
}

// DiskOn reads the partitions of a device.
func DiskOn(tb testing.TB, dev blockdev.Device) *partitions.Disk {
	tb.Helper()
	d, err := partitions.Open(dev)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// Slot is the partition of a slot.
func Slot(tb testing.TB, d *partitions.Disk, slot bootctl.Slot) *blockdev.Section {
	tb.Helper()
	sec, err := d.Slot(slot)
	if err != nil {
		tb.Fatal(err)
	}
	return sec
}

// Store opens the boot state of a disk.
func Store(tb testing.TB, dev blockdev.Device) *bootctl.Store {
	tb.Helper()
	sec, err := DiskOn(tb, dev).State()
	if err != nil {
		tb.Fatal(err)
	}
	return bootctl.Open(sec)
}
