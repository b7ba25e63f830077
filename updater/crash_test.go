package updater_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// crashImages are smaller than images: they are written many times.
func crashImages(t *testing.T) string {
	return ut.Layout(t, map[string]ut.Image{
		"v1": {Version: "1.0", Noise: 30_000},
		"v2": {Version: "2.0", Noise: 120_000},
	})
}

// diskInMemory is a disk with v1 in slot A.
func diskInMemory(t *testing.T, dir string) *blockdev.Memory {
	t.Helper()
	return memory(t, ut.Disk(t, "oci:"+dir+":v1"))
}

// memory is a disk image file, read.
func memory(t *testing.T, path string) *blockdev.Memory {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return blockdev.NewMemory(b)
}

func apply(t *testing.T, dev blockdev.Device, ref string) (*updater.Applied, error) {
	t.Helper()
	sys, err := updater.New(dev, nil)
	if err != nil {
		return nil, err
	}
	return sys.Apply(t.Context(), updater.ApplyOptions{Ref: ref})
}

// checkOldOrNew returns an error unless the disk boots the old system, as it
// was, or the new one, whole.
func checkOldOrNew(t *testing.T, dev blockdev.Device, old bootctl.State) (next bootctl.Slot, err error) {
	t.Helper()
	sys, err := updater.New(dev, nil)
	if err != nil {
		return next, err
	}
	st, err := ut.Store(t, dev).Load()
	if err != nil {
		return next, err
	}
	if diff := cmp.Diff(*old.Slot(bootctl.SlotA), *st.Slot(bootctl.SlotA)); diff != "" {
		return next, fmt.Errorf("slot a's state changed (-before +after):\n%s", diff)
	}
	next = st.Active()
	found, err := sys.Verify(t.Context(), []bootctl.Slot{bootctl.SlotA, next}, nil)
	if err != nil {
		return next, err
	}
	want := map[bootctl.Slot]string{bootctl.SlotA: "1.0", bootctl.SlotB: "2.0"}[next]
	if got := found[1]; got.State != updater.Intact || got.Version != want {
		return next, fmt.Errorf("slot %v boots next and is %+v; want version %q intact", next, got, want)
	}
	return next, nil
}

// The power may go at any write of an apply: the old system boots, or the new
// one, and the next apply finishes.
func TestApplyKilledAnywhere(t *testing.T) {
	dir := crashImages(t)
	for _, tt := range []struct{ name, ref string }{
		{"image", "oci:" + dir + ":v2"},
		{"update", update(t, dir, "v2")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := diskInMemory(t, dir)
			old := ut.State(t, base)
			rec := blockdevtest.NewRecorder(base)
			if _, err := apply(t, rec, tt.ref); err != nil {
				t.Fatal(err)
			}
			rec.Mark("applied")
			var cuts, finished, news int
			for img, cut := range rec.Crashes() {
				cuts++
				next, err := checkOldOrNew(t, img, old)
				if err != nil {
					t.Fatalf("cut %v: %v", cut, err)
				}
				if next == bootctl.SlotB {
					news++
				} else if cut.Reached("applied") {
					t.Fatalf("cut %v: apply had returned, and slot %v boots next", cut, next)
				}
				if cut.Torn >= 0 && cuts%8 != 0 {
					continue // to go on from each of them would take minutes
				}
				finished++
				_, err = apply(t, img, tt.ref)
				if next == bootctl.SlotB && fault.KindOf(err) == fault.Nothing {
					continue
				}
				if err != nil {
					t.Fatalf("cut %v: apply again: %v", cut, err)
				}
				if next, err = checkOldOrNew(t, img, old); err != nil || next != bootctl.SlotB {
					t.Fatalf("cut %v: after apply again slot %v boots next, %v", cut, next, err)
				}
			}
			if cuts < 50 || news == 0 || news == cuts {
				t.Errorf("%d cuts, %d of them with the new system: too few to prove anything", cuts, news)
			}
			t.Logf("%d writes, %d syncs, %d cuts, %d of them with the new system, %d taken to their end", rec.Writes(), rec.Syncs(), cuts, news, finished)
		})
	}
}

// The disk may fail at any operation: the running system stays, the error is
// of the right kind, and when the disk works again apply goes through.
func TestApplyOnAFailingDisk(t *testing.T) {
	dir := crashImages(t)
	ref := update(t, dir, "v2")
	base := diskInMemory(t, dir)
	old := ut.State(t, base)
	for _, tt := range []struct {
		name   string
		faults func(n int) blockdevtest.Faults
		kind   fault.Kind
	}{
		{"a write fails", func(n int) blockdevtest.Faults { return blockdevtest.Faults{Write: n} }, fault.Other},
		{"a write is cut short, disk full", func(n int) blockdevtest.Faults {
			return blockdevtest.Faults{Write: n, WriteErr: syscall.ENOSPC, Short: 100}
		}, fault.NoRoom},
		{"writes fail from here on", func(n int) blockdevtest.Faults { return blockdevtest.Faults{Write: n, Onwards: true} }, fault.Other},
		{"a sync fails", func(n int) blockdevtest.Faults { return blockdevtest.Faults{Sync: n} }, fault.Other},
		{"a read fails", func(n int) blockdevtest.Faults { return blockdevtest.Faults{Read: n} }, fault.Other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := 1
			for ; ; n++ {
				img := blockdevtest.NewImage(base)
				dev := blockdevtest.Inject(img, tt.faults(n))
				_, err := apply(t, dev, ref)
				if !dev.Hit() {
					if err != nil {
						t.Fatalf("without a fault: %v", err)
					}
					break
				}
				if err != nil && fault.KindOf(err) != tt.kind {
					t.Errorf("operation %d: %v has kind %d; want %d", n, err, fault.KindOf(err), tt.kind)
				}
				next, cerr := checkOldOrNew(t, img, old)
				if cerr != nil {
					t.Fatalf("operation %d, apply returned %v: %v", n, err, cerr)
				}
				if err == nil && next != bootctl.SlotB {
					t.Fatalf("operation %d: apply returned nil, and slot %v boots next", n, next)
				}
				if _, err := apply(t, img, ref); err != nil && fault.KindOf(err) != fault.Nothing {
					t.Fatalf("operation %d: apply on the mended disk: %v", n, err)
				}
				if next, err := checkOldOrNew(t, img, old); err != nil || next != bootctl.SlotB {
					t.Fatalf("operation %d: afterwards slot %v boots next, %v", n, next, err)
				}
			}
			if n < 4 {
				t.Errorf("only %d operations were made to fail", n-1)
			}
		})
	}
}

// A disk that gives back other bytes than were written is noticed before the
// new system may boot.
func TestApplyReadsBack(t *testing.T) {
	dir := crashImages(t)
	base := diskInMemory(t, dir)
	old := ut.State(t, base)
	for _, ref := range []string{"oci:" + dir + ":v2", update(t, dir, "v2")} {
		img := blockdevtest.NewImage(base)
		dev := blockdevtest.Inject(img, blockdevtest.Faults{OnRead: func(_ int, p []byte, off int64) {
			if len(p) >= 64<<10 { // the image being read back
				p[len(p)/2] ^= 1
			}
		}})
		_, err := apply(t, dev, ref)
		if fault.KindOf(err) != fault.Verify || !strings.Contains(err.Error(), "reading the slot back") {
			t.Errorf("Apply() = %v; want an error of kind %d", err, fault.Verify)
		}
		if next, err := checkOldOrNew(t, img, old); err != nil || next != bootctl.SlotA {
			t.Errorf("slot %v boots next, %v; want a", next, err)
		}
		if got := ut.State(t, img).Slots[1].Status; got != bootctl.Empty {
			t.Errorf("slot b is %s; want empty", got)
		}
	}
}
