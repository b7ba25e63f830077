package faulttest_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	fs "github.com/abupdate/abupdate/internal/faultserver"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater"
)

// A badBlock is a disk one byte of which cannot be read or written.
type badBlock struct {
	blockdev.Device
	off         int64
	read, write error
	hits        atomic.Int64
}

func (b *badBlock) fail(err error, off int64, n int) error {
	if err == nil || b.off < off || b.off >= off+int64(n) {
		return nil
	}
	b.hits.Add(1)
	return err
}

func (b *badBlock) ReadAt(p []byte, off int64) (int, error) {
	if err := b.fail(b.read, off, len(p)); err != nil {
		return 0, err
	}
	return b.Device.ReadAt(p, off)
}

func (b *badBlock) WriteAt(p []byte, off int64) (int, error) {
	if err := b.fail(b.write, off, len(p)); err != nil {
		return 0, err
	}
	return b.Device.WriteAt(p, off)
}

func (b *badBlock) Invalidate(off, n int64) error { return blockdev.Invalidate(b.Device, off, n) }

// TestDisk applies to a disk with a bad block.
func TestDisk(t *testing.T) {
	const ioError = "input/output error"
	for _, tt := range []struct {
		name        string
		slot        bootctl.Slot
		off         int64 // in the slot
		read, write error
		kind        fault.Kind
		says        []string
	}{
		{"write fails at the first block", bootctl.SlotB, 0, nil, syscall.EIO, fault.Other, []string{"slot b", ioError}},
		{"write fails among blocks that are copied", bootctl.SlotB, 1_000_000, nil, syscall.EIO, fault.Other, []string{"slot b", ioError}},
		{"write fails among blocks that are fetched", bootctl.SlotB, 3_500_000, nil, syscall.EIO, fault.Other, []string{"slot b", ioError}},
		{"write fails in the hash tree", bootctl.SlotB, 5_030_000, nil, syscall.EIO, fault.Other, []string{"slot b", ioError}},
		{"write fails for want of room", bootctl.SlotB, 3_500_000, nil, syscall.ENOSPC, fault.NoRoom, []string{"slot b", "no space left"}},
		{"read fails when the slot is read back", bootctl.SlotB, 3_500_000, syscall.EIO, nil, fault.Other, []string{"slot", ioError}},
		{"read fails in the running slot", bootctl.SlotA, 1_000_000, syscall.EIO, nil, 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDevice(t, "")
			got, hits := d.applyTo(t, func(dev blockdev.Device) *badBlock {
				return &badBlock{Device: dev, off: slotOff(t, dev, tt.slot) + tt.off, read: tt.read, write: tt.write}
			})
			t.Logf("exit code %d: %s", got.code, got.message())
			if hits == 0 {
				t.Fatal("nothing touched the bad block")
			}
			if tt.kind == 0 {
				d.checkApplied(t, got, "2.0")
				return
			}
			d.checkFailed(t, got, int(tt.kind), tt.says...)
			d.checkFinishes(t, "2.0", d.ref("v2"))
		})
	}
}

// applyTo applies v2 to the disk as bad shows it.
func (d *device) applyTo(t *testing.T, bad func(blockdev.Device) *badBlock) (result, int64) {
	t.Helper()
	dev, err := blockdev.Open(d.disk, blockdev.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	b := bad(dev)
	sys, err := updater.New(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = sys.Apply(t.Context(), updater.ApplyOptions{Ref: d.ref("v2")})
	got := result{code: int(fault.KindOf(err))}
	if err != nil {
		got.messages = []string{"abupdate: " + err.Error()}
	}
	return got, b.hits.Load()
}

func slotOff(t *testing.T, dev blockdev.Device, slot bootctl.Slot) int64 {
	t.Helper()
	p, err := partitions.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	sec, err := p.Slot(slot)
	if err != nil {
		t.Fatal(err)
	}
	return sec.Off()
}

// TestBusy runs an apply while another one does, which waits for its server.
func TestBusy(t *testing.T) {
	d := newDevice(t, "")
	asked := make(chan struct{})
	d.Set(fs.On(fs.Times(1, fs.HookRequest(func() { close(asked) })), fs.Data), fs.On(fs.Silence(), fs.Data))
	first := d.start(t, nil, "apply", "--disk", d.disk, d.ref("v2"))
	<-asked
	got := d.apply(t, d.ref("v2"))
	d.checkFailed(t, got, 8, "in use by another abupdate")
	d.Set()
	d.Release()
	d.checkApplied(t, first.wait(), "2.0")
}

// An ordinary image needs a spool for what its upper layers hide.
func TestSpool(t *testing.T) {
	spooled := func(t *testing.T, spool string, faults ...fs.Fault) (*device, result, string) {
		t.Helper()
		d := newDevice(t, "")
		images := fs.New(shared.images)
		ref := images.Start(t) + "/os:twice"
		images.Set(faults...)
		return d, d.apply(t, "--spool", spool, ref), ref
	}
	t.Run("full before it begins", func(t *testing.T) {
		d, got, ref := spooled(t, "/proc") // which never has room
		d.checkFailed(t, got, 5, "spooling layers in /proc", "0 are free")
		d.checkFinishes(t, "2.0", ref)
	})
	t.Run("fills up under the layer", func(t *testing.T) {
		spool := t.TempDir()
		// Before the layer comes, its file becomes one that is always full.
		fill := fs.On(func(r *fs.Request, _ *fs.Answer) {
			dirs, err := filepath.Glob(filepath.Join(spool, "abupdate-spool-*"))
			if err != nil {
				t.Error(err)
			}
			for _, dir := range dirs {
				_ = os.Symlink("/dev/full", filepath.Join(dir, strings.TrimPrefix(r.Digest, "sha256:")))
			}
		}, fs.Layer)
		d, got, ref := spooled(t, spool, fill)
		d.checkFailed(t, got, 5, "no space left on device", spool)
		if left, err := os.ReadDir(spool); err != nil || len(left) != 0 {
			t.Errorf("the spool holds %v, %v; want nothing", left, err)
		}
		d.checkFinishes(t, "2.0", ref)
	})
}
