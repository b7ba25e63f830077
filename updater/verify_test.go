package updater_test

import (
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// One wrong bit anywhere in a slot is found.
func TestVerifyFindsDamage(t *testing.T) {
	path := ut.Disk(t, "oci:"+images(t)+":v1")
	sys := open(t, path)
	slot := ut.Slot(t, ut.OpenDisk(t, path), bootctl.SlotA)
	content, err := partitions.ReadSlot(slot)
	if err != nil {
		t.Fatal(err)
	}
	f := content.Footer
	for _, tt := range []struct {
		name string
		at   int64
	}{
		{"superblock", 5},
		{"data", f.ImageBytes / 2},
		{"the last block", f.ImageBytes - 1},
		{"verity superblock", f.HashOff + 8},
		{"hash tree", f.HashOff + 4096},
		{"leaves of the hash tree", f.HashOff + f.TreeBytes - 4096},
		{"manifest", f.ManifestOff + 10},
		{"footer", slot.Size() - 4096 + 40},
	} {
		t.Run(tt.name, func(t *testing.T) {
			flip(t, slot, tt.at)
			defer flip(t, slot, tt.at)
			found, err := sys.Verify(t.Context(), nil, nil)
			if fault.KindOf(err) != fault.Verify || !strings.Contains(err.Error(), "slot a is damaged") {
				t.Errorf("Verify() = %v; want kind %d", err, fault.Verify)
			}
			if len(found) != 2 || found[0].State != updater.Damaged || found[0].Problem == "" || found[1].State != updater.Nothing {
				t.Errorf("Verify() found %+v; want a damaged, b empty", found)
			}
		})
	}
	if found, err := sys.Verify(t.Context(), nil, nil); err != nil || found[0].State != updater.Intact {
		t.Errorf("Verify() of the mended slot = %+v, %v; want it intact", found, err)
	}
}

// A good slot whose footer is gone is damaged, not empty.
func TestVerifyMissesASlot(t *testing.T) {
	path := ut.Disk(t, "oci:"+images(t)+":v1")
	sys := open(t, path)
	slot := ut.Slot(t, ut.OpenDisk(t, path), bootctl.SlotA)
	if err := blockdev.Zero(slot, slot.Size()-4096, 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := sys.Verify(t.Context(), nil, nil); fault.KindOf(err) != fault.Verify {
		t.Errorf("Verify() = %v; want kind %d", err, fault.Verify)
	}
	st, err := sys.Status()
	if err != nil || st.Slots["a"].Problem == "" {
		t.Errorf("Status() = %+v, %v; want a problem with slot a", st, err)
	}
}

func flip(t *testing.T, dev blockdev.Device, at int64) {
	t.Helper()
	b := make([]byte, 1)
	if _, err := dev.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := dev.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}
