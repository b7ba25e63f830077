package bootctl_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

// Every operation of a save fails once, in every way: Save says so, and the
// old or the new state is there afterwards; after the fault has passed, a
// save succeeds.
func TestSaveFaults(t *testing.T) {
	all := states(t, 4)
	for _, tt := range []struct {
		name   string
		faults func(n int) blockdevtest.Faults
		want   error
	}{
		{"write fails", func(n int) blockdevtest.Faults { return blockdevtest.Faults{Write: n} }, syscall.EIO},
		{"write is short", func(n int) blockdevtest.Faults {
			return blockdevtest.Faults{Write: n, WriteErr: syscall.ENOSPC, Short: 1000}
		}, syscall.ENOSPC},
		{"write is done and reported as failed", func(n int) blockdevtest.Faults {
			return blockdevtest.Faults{Write: n, Short: bootctl.RecordSize}
		}, syscall.EIO},
		{"device is read-only", func(n int) blockdevtest.Faults {
			return blockdevtest.Faults{Write: n, WriteErr: syscall.EROFS, Onwards: true}
		}, syscall.EROFS},
		{"sync fails", func(n int) blockdevtest.Faults { return blockdevtest.Faults{Sync: n} }, syscall.EIO},
		{"device dies at a sync", func(n int) blockdevtest.Faults { return blockdevtest.Faults{Sync: n, Onwards: true} }, syscall.EIO},
	} {
		for n := 1; ; n++ {
			dev := formatted(t, all[0])
			save(t, dev, all[1])
			faulty := blockdevtest.Inject(dev, tt.faults(n))
			err := bootctl.Open(faulty).Save(all[2])
			if !faulty.Hit() {
				if n == 1 {
					t.Errorf("%s: Save does nothing that could fail", tt.name)
				}
				break
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("%s, number %d: Save() = %v; want %v", tt.name, n, err, tt.want)
			}
			if got := load(t, dev); !got.Equal(all[1]) && !got.Equal(all[2]) {
				t.Errorf("%s, number %d: Load() = %+v; want old or new state", tt.name, n, got)
			}
			save(t, dev, all[3])
			if got := load(t, dev); !got.Equal(all[3]) {
				t.Errorf("%s, number %d: a save after it does not count", tt.name, n)
			}
		}
	}
}

func TestReadBackFaults(t *testing.T) {
	all := states(t, 3)
	dev := formatted(t, all[0])
	save(t, dev, all[1])
	const readBack = 3 // after one read of each record
	err := bootctl.Open(blockdevtest.Inject(dev, blockdevtest.Faults{Read: readBack})).Save(all[2])
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("read back fails: Save() = %v; want EIO", err)
	}
	lie := func(n int, p []byte, off int64) {
		if n == readBack {
			p[200] ^= 1
		}
	}
	err = bootctl.Open(blockdevtest.Inject(dev, blockdevtest.Faults{OnRead: lie})).Save(all[2])
	if !errors.Is(err, bootctl.ErrCorrupt) {
		t.Errorf("other bytes are read back: Save() = %v; want ErrCorrupt", err)
	}
	invalidate := &forgetful{Memory: dev}
	save(t, invalidate, all[2])
	if !slices.Contains(invalidate.forgot, "after the write") {
		t.Errorf("cache was dropped %q; want after the write", invalidate.forgot)
	}
}

// forgetful notes when its cache was dropped.
type forgetful struct {
	*blockdev.Memory
	written bool
	forgot  []string
}

func (d *forgetful) WriteAt(p []byte, off int64) (int, error) {
	d.written = true
	return d.Memory.WriteAt(p, off)
}

func (d *forgetful) Invalidate(off, n int64) error {
	when := "before the write"
	if d.written {
		when = "after the write"
	}
	d.forgot = append(d.forgot, when)
	return nil
}

// A record that cannot be read is not one that was lost: there is nothing to
// rebuild, and nothing to begin anew with generation 1.
func TestUnreadableRecords(t *testing.T) {
	all := states(t, 3)
	dev := formatted(t, all[0])
	save(t, dev, all[1]) // record 0
	for record, want := range []bootctl.State{all[0], all[1]} {
		faulty := &blockdevtest.BadSector{Device: dev, At: int64(record) * bootctl.PartitionSize / 2}
		if got, err := bootctl.Open(faulty).Load(); err != nil || !got.Equal(want) {
			t.Errorf("record %d unreadable: Load() = %+v, %v; want the other record's state", record, got, err)
		}
		if _, err := bootctl.Open(faulty).LoadToChange(); !errors.Is(err, syscall.EIO) {
			t.Errorf("record %d unreadable: LoadToChange() = %v; want EIO: it may be the newer one", record, err)
		}
		once := blockdevtest.Inject(dev, blockdevtest.Faults{Read: record + 1})
		if got, err := bootctl.Open(once).Load(); err != nil || !got.Equal(all[1]) {
			t.Errorf("record %d unreadable once: Load() = %+v, %v; want the newer state", record, got, err)
		}
	}
	dead := blockdevtest.Inject(dev, blockdevtest.Faults{Read: 1, Onwards: true})
	if _, err := bootctl.Open(dead).Load(); !errors.Is(err, syscall.EIO) || errors.Is(err, bootctl.ErrNoState) {
		t.Errorf("both unreadable: Load() = %v; want EIO and not ErrNoState", err)
	}
	before := dev.Bytes()
	dead = blockdevtest.Inject(dev, blockdevtest.Faults{Read: 1, Onwards: true})
	if err := bootctl.Open(dead).Save(all[2]); !errors.Is(err, syscall.EIO) {
		t.Errorf("both unreadable: Save() = %v; want EIO", err)
	}
	if !bytes.Equal(dev.Bytes(), before) {
		t.Error("both unreadable: Save() wrote all the same")
	}
}

// What is acted on is on the medium: a program that was killed between write
// and sync left a record in the page cache alone.
func TestLoadToChangeSyncs(t *testing.T) {
	all := states(t, 2)
	dev := formatted(t, all[0])
	cache := blockdevtest.NewPageCache(dev)
	if err := bootctl.Open(blockdevtest.Inject(cache, blockdevtest.Faults{Sync: 2, Onwards: true})).Save(all[1]); err == nil {
		t.Fatal("Save() = nil without its sync")
	}
	if got := load(t, dev); !got.Equal(all[0]) {
		t.Fatalf("the medium has %+v; want nothing of the save yet", got)
	}
	got, err := bootctl.Open(cache).LoadToChange()
	if err != nil || !got.Equal(all[1]) {
		t.Errorf("LoadToChange() = %+v, %v; want what the page cache has", got, err)
	}
	if got := load(t, dev); !got.Equal(all[1]) {
		t.Errorf("after LoadToChange() the medium has %+v; want the same", got)
	}
	if _, err := bootctl.Open(blockdevtest.Inject(dev, blockdevtest.Faults{Sync: 1})).LoadToChange(); !errors.Is(err, syscall.EIO) {
		t.Errorf("LoadToChange() = %v with a sync that fails; want EIO", err)
	}
}

func TestFormatFaults(t *testing.T) {
	s := states(t, 1)[0]
	for kind, faults := range map[string]func(n int) blockdevtest.Faults{
		"write": func(n int) blockdevtest.Faults { return blockdevtest.Faults{Write: n} },
		"sync":  func(n int) blockdevtest.Faults { return blockdevtest.Faults{Sync: n} },
		"read":  func(n int) blockdevtest.Faults { return blockdevtest.Faults{Read: n} },
	} {
		for n := 1; ; n++ {
			faulty := blockdevtest.Inject(unformatted(), faults(n))
			err := bootctl.Format(faulty, s)
			if !faulty.Hit() {
				break
			}
			if !errors.Is(err, syscall.EIO) {
				t.Errorf("%s %d fails: Format() = %v; want EIO", kind, n, err)
			}
		}
	}
}

// On a file that may not be written, as an ordinary user and as root.
func TestReadOnlyFile(t *testing.T) {
	s := states(t, 1)[0]
	path := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path, formatted(t, s).Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := blockdev.Open(path, blockdev.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := load(t, f); !got.Equal(s) {
		t.Errorf("Load() = %+v; want %+v", got, s)
	}
	if err := bootctl.Open(f).Save(s); err == nil {
		t.Error("Save() to a read-only file gave no error")
	}
}
