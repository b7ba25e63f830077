package updater_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

func TestOpenTakesTheLock(t *testing.T) {
	path := ut.EmptyDisk(t)
	open(t, path)
	_, err := updater.Open(updater.OpenOptions{Disk: path, Access: updater.Change})
	if fault.KindOf(err) != fault.Busy {
		t.Errorf("Open() of a disk in use = %v; want kind %d", err, fault.Busy)
	}
	sys, err := updater.Open(updater.OpenOptions{Disk: path})
	if err != nil {
		t.Fatalf("Open() for reading = %v", err)
	}
	sys.Close()
}

func TestOpenOfTheBootedDisk(t *testing.T) {
	dir := t.TempDir()
	path := ut.EmptyDisk(t)
	booted := filepath.Join(dir, "boot.json")
	lock := filepath.Join(dir, "run", "lock")
	opt := updater.OpenOptions{Access: updater.Change, BootedPath: booted, LockPath: lock}
	if _, err := updater.Open(opt); fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), "--disk") {
		t.Errorf("Open() on a machine that abupdate did not boot = %v; want kind %d", err, fault.Usage)
	}
	if err := (bootctl.Booted{Slot: bootctl.SlotA, Disk: path}).Write(booted); err != nil {
		t.Fatal(err)
	}
	sys, err := updater.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := updater.Open(opt); fault.KindOf(err) != fault.Busy || !strings.Contains(err.Error(), lock) {
		t.Errorf("Open() with the lock taken = %v; want kind %d", err, fault.Busy)
	}
	st, err := sys.Status()
	if err != nil || st.Booted == nil || *st.Booted != bootctl.SlotA {
		t.Errorf("Status() = %+v, %v; want a booted", st, err)
	}
	if err := sys.Close(); err != nil {
		t.Fatal(err)
	}
	other := bootctl.Booted{Slot: bootctl.SlotA, Disk: path, DiskGUID: "11111111-1111-1111-1111-111111111111"}
	if err := other.Write(booted); err != nil {
		t.Fatal(err)
	}
	if _, err := updater.Open(opt); err == nil || !strings.Contains(err.Error(), "disk GUID") {
		t.Errorf("Open() of another disk under the same name = %v; want an error", err)
	}
}

// On a device a layer that must be read twice is spooled on disk, in a folder
// that is emptied first; nothing stays there.
func TestApplySpoolsOnDisk(t *testing.T) {
	ref, _, _ := served(t, "twice")
	dir := t.TempDir()
	path, spool := ut.Disk(t, "oci:"+images(t)+":v1"), filepath.Join(dir, "spool")
	left := filepath.Join(spool, "left-by-a-power-cut")
	if err := errors.Join(os.Mkdir(spool, 0o700), os.WriteFile(left, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	ut.EditState(t, path, func(s bootctl.State) bootctl.State { _, s = s.Next(); s.LastBoot.Confirmed = true; return s })
	booted := filepath.Join(dir, "boot.json")
	if err := (bootctl.Booted{Slot: bootctl.SlotA, Disk: path, Kernel: ut.Kernel}).Write(booted); err != nil {
		t.Fatal(err)
	}
	sys, err := updater.Open(updater.OpenOptions{Access: updater.Change, BootedPath: booted, LockPath: filepath.Join(dir, "lock"), SpoolDir: spool})
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	spooled := 0
	opt := updater.ApplyOptions{Ref: ref, Progress: func(e updater.Event) {
		if e.Step == updater.StepWrite {
			list, _ := filepath.Glob(filepath.Join(spool, "*"))
			spooled = max(spooled, len(list))
		}
	}}
	if _, err := sys.Apply(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); spooled != 1 || err == nil {
		t.Errorf("%d spools while writing, what was left from before: %v; want one and nothing", spooled, err)
	}
	if list, _ := os.ReadDir(spool); len(list) > 0 {
		t.Errorf("in the spool there is %v; want nothing", list)
	}
	if _, err := sys.Verify(t.Context(), nil, nil); err != nil {
		t.Errorf("Verify() = %v", err)
	}
}

func TestOpenRejectsWhatIsNoDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := updater.Open(updater.OpenOptions{Disk: path})
	if !errors.Is(err, partitions.ErrNoLayout) || fault.KindOf(err) != fault.Usage {
		t.Errorf("Open() = %v; want %v", err, partitions.ErrNoLayout)
	}
}
