package faulttest_test

import (
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
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

const ioError = "input/output error"

// A diskRow is a block that is bad.
type diskRow struct {
	row
	slot        bootctl.Slot
	off         int64 // in the slot
	read, write error
}

var diskRows = []diskRow{
	{row{"write fails at the first block", 1, []string{"writing the slot at byte 0", ioError, "slot b is empty now"}}, bootctl.SlotB, 0, nil, syscall.EIO},
	{row{"write fails among blocks that are copied", 1, []string{"writing the slot at byte", ioError, "slot b is empty now"}}, bootctl.SlotB, 1_000_000, nil, syscall.EIO},
	{row{"write fails among blocks that are fetched", 1, []string{"writing the slot at byte", ioError, "slot b is empty now"}}, bootctl.SlotB, 3_500_000, nil, syscall.EIO},
	{row{"write fails in the hash tree", 1, []string{"writing the slot at byte 5021696", ioError, "slot b is empty now"}}, bootctl.SlotB, 5_030_000, nil, syscall.EIO},
	{row{"write fails for want of room", 5, []string{"writing the slot at byte", "no space left on device"}}, bootctl.SlotB, 3_500_000, nil, syscall.ENOSPC},
	{row{"read fails when the slot is read back", 1, []string{"reading the slot back", ioError, "slot b is empty now"}}, bootctl.SlotB, 3_500_000, syscall.EIO, nil},
	{row{"read fails in the running slot", 0, nil}, bootctl.SlotA, 1_000_000, syscall.EIO, nil},
}

// TestDisk applies to a disk with a bad block.
func TestDisk(t *testing.T) {
	for _, tt := range diskRows {
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
			if tt.code == 0 {
				d.checkApplied(t, got, "2.0")
				return
			}
			d.checkFailed(t, got, tt.code, tt.says...)
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
	return ut.Slot(t, ut.DiskOn(t, dev), slot).Off()
}
