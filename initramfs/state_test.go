package initramfs_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/initramfs"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery"
	"github.com/abupdate/abupdate/recovery/recoverytest"
)

func result(exit int, output string) initramfs.Result {
	return initramfs.Result{Exit: exit, Output: output}
}

func section(d *device, label string) blockdev.Device {
	d.t.Helper()
	s, err := d.layout().Section(label)
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

func put(d *device, label string, off int64, text string) {
	d.t.Helper()
	dev := section(d, label)
	if off < 0 {
		off += dev.Size()
	}
	if _, err := dev.WriteAt([]byte(text), off); err != nil {
		d.t.Fatal(err)
	}
}

func damage(d *device, label string, off int64) { put(d, label, off, "damaged") }

// zero empties a slot's footer.
func zero(d *device, label string) {
	put(d, label, -partitions.FooterSize, string(make([]byte, partitions.FooterSize)))
}

func save(d *device, s bootctl.State) {
	d.t.Helper()
	if err := recoverytest.Store(d.t, d.layout()).Save(s); err != nil {
		d.t.Fatal(err)
	}
}

func varBytes(d *device) string {
	d.t.Helper()
	b := make([]byte, partitions.BlankSize)
	if _, err := section(d, partitions.LabelVar).ReadAt(b, 0); err != nil {
		d.t.Fatal(err)
	}
	return string(b)
}

func loseState(d *device) {
	put(d, partitions.LabelState, 0, strings.Repeat("lost", 1024))
	put(d, partitions.LabelState, bootctl.PartitionSize/2, strings.Repeat("lost", 1024))
}

func TestStateLost(t *testing.T) {
	t.Run("newest slot boots", func(t *testing.T) {
		d := updated(t)
		loseState(d)
		f := d.boot()
		if f.booting != bootctl.SlotB || f.switched == nil {
			t.Errorf("slot %v boots; want b, the newer one; log %q", f.booting, f.log)
		}
		if s := d.state(); s.LastBoot.Slot != bootctl.SlotB || s.Slot(bootctl.SlotB).TriesLeft != 0 || s.Slot(bootctl.SlotA).Status != bootctl.Pending {
			t.Errorf("state = %+v; want the one try of b taken and a next", s)
		}
	})
	t.Run("newest slot's tree is damaged", func(t *testing.T) {
		d := updated(t)
		loseState(d)
		damage(d, partitions.LabelRootB, (recoverytest.Blocks+1)*4096)
		if f := d.boot(); f.booting != bootctl.SlotA {
			t.Errorf("slot %v boots; want a", f.booting)
		}
	})
	t.Run("no slot is whole", func(t *testing.T) {
		d := updated(t)
		loseState(d)
		zero(d, partitions.LabelRootA)
		zero(d, partitions.LabelRootB)
		f := d.boot(func(f *fakeSystem) { f.console.Keys = "6\r" })
		if f.restarted != recovery.PowerOff {
			t.Errorf("restarted %v, log %q; want the recovery menu", f.restarted, f.log)
		}
	})
}

// A state that a newer abupdate wrote stays as it is; a person may boot a
// slot all the same.
func TestStateOfNewerFormat(t *testing.T) {
	newer := func(t *testing.T) *device {
		d := updated(t)
		b := make([]byte, bootctl.RecordSize)
		copy(b, "ABUPSTAT\x63\x00")
		sealRecord(b)
		put(d, partitions.LabelState, bootctl.PartitionSize/2, string(b))
		return d
	}
	for _, tt := range []struct {
		name, keys string
		booting    bootctl.Slot
		restarted  recovery.Restart
	}{
		{"the menu offers no change", "1\r2\r6\r", bootctl.SlotNone, recovery.PowerOff},
		{"slot b boots this time", "4\r", bootctl.SlotB, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newer(t)
			state := section(d, partitions.LabelState)
			before := make([]byte, state.Size())
			after := make([]byte, state.Size())
			if _, err := state.ReadAt(before, 0); err != nil {
				t.Fatal(err)
			}
			f := d.boot(func(f *fakeSystem) { f.console.Keys = tt.keys })
			if f.booting != tt.booting || f.restarted != tt.restarted {
				t.Errorf("slot %v boots, restarted %v; want %v, %v; console:\n%s", f.booting, f.restarted, tt.booting, tt.restarted, f.console)
			}
			if !strings.Contains(f.console.String(), "newer version") {
				t.Errorf("the console shows:\n%s\nwant the reason", f.console)
			}
			if _, err := state.ReadAt(after, 0); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(before, after) {
				t.Error("the state partition was written")
			}
		})
	}
}

// When nothing can be saved, a good slot boots and a try is not spent.
func TestStateCannotBeSaved(t *testing.T) {
	for _, tt := range []struct {
		name   string
		device func(t testing.TB) *device
		blank  bool // /var is to be made, which takes a save
		want   bootctl.Slot
		down   recovery.Restart
	}{
		{"good slot first", func(t testing.TB) *device { return installed(t) }, false, bootctl.SlotA, 0},
		{"pending slot first, a good one behind it", func(t testing.TB) *device { return updated(t) }, false, bootctl.SlotA, 0},
		{"good slot that fails: recovery, not one reboot after the other", func(t testing.TB) *device { return installed(t) }, true, bootctl.SlotA, recovery.PowerOff},
		{"no good slot", func(t testing.TB) *device {
			d := updated(t)
			s := d.state()
			s.Slot(bootctl.SlotA).Status = bootctl.Bad
			save(d, s)
			return d
		}, false, bootctl.SlotNone, recovery.PowerOff},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := tt.device(t)
			if !tt.blank {
				if err := putSuperblock(section(d, partitions.LabelVar), "ext4"); err != nil {
					t.Fatal(err)
				}
			}
			d.dev = blockdevtest.Inject(d.dev, blockdevtest.Faults{Write: 1, Onwards: true})
			f := d.boot(func(f *fakeSystem) { f.console.Keys = "6\r" })
			if f.booting != tt.want || f.restarted != tt.down {
				t.Errorf("slot %v boots, restarted %v; want %v, %v; log %q", f.booting, f.restarted, tt.want, tt.down, f.log)
			}
		})
	}
}

func TestBothExhaustedThenRestore(t *testing.T) {
	d := updated(t)
	s := d.state()
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		s.Slot(slot).Status = bootctl.Bad
	}
	save(d, s)
	f := d.boot(func(f *fakeSystem) { f.console.Keys = "2\r" })
	if f.booting != bootctl.SlotA || f.switched == nil || !strings.Contains(f.read("run/abupdate/boot.json"), `"golden"`) {
		t.Errorf("slot %v boots, boot.json %s; want the golden image in a; log %q", f.booting, f.read("run/abupdate/boot.json"), f.log)
	}
	if f := d.boot(); f.booting != bootctl.SlotA {
		t.Errorf("slot %v boots the next time; want a", f.booting)
	}
}

func TestRecoveryByOrder(t *testing.T) {
	for _, tt := range []struct {
		name   string
		device func(d *device)
	}{
		{"command line", func(d *device) { d.cmdline += " abupdate.slot=recovery" }},
		{"request", func(d *device) { save(d, d.state().SetOneShot(bootctl.SlotRecovery)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := updated(t)
			tt.device(d)
			f := d.boot(func(f *fakeSystem) { f.console.Keys = "3\r" })
			if !strings.Contains(f.console.String(), "abupdate recovery") || f.booting != bootctl.SlotA {
				t.Errorf("slot %v boots, console:\n%s\nwant the menu, then a", f.booting, f.console)
			}
		})
	}
}

// A restore that fails goes back to the menu and says why.
func TestRestoreFailsInTheMenu(t *testing.T) {
	d := updated(t)
	d.cmdline += " abupdate.slot=recovery"
	damage(d, partitions.LabelRecovery, 5000)
	f := d.boot(func(f *fakeSystem) { f.console.Keys = "2\r4\r" })
	if !strings.Contains(f.console.String(), "reason: restoring the golden image") || f.booting != bootctl.SlotB {
		t.Errorf("slot %v boots, console:\n%s\nwant the reason, then b", f.booting, f.console)
	}
}

func TestFactoryResetByRequest(t *testing.T) {
	d := installed(t)
	d.boot()
	first := d.boot().read("sysroot/etc/machine-id")
	put(d, partitions.LabelVar, 4096, "old")
	slots := d.state().Slots
	save(d, d.state().RequestReset())
	f := d.boot(func(f *fakeSystem) { f.console.NoInput = true })
	if f.switched == nil || !f.did("run /usr/sbin/mkfs.ext4") {
		t.Errorf("calls %q; want /var made anew and the slot booted, without a key", f.calls)
	}
	if strings.Contains(varBytes(d), "old") {
		t.Error("old data is still on var")
	}
	s := d.state()
	if s.Reset != bootctl.ResetNone || s.MakingVar || s.Slot(bootctl.SlotA).Version != slots[0].Version || s.Slot(bootctl.SlotA).Status != bootctl.Good {
		t.Errorf("state = %+v; want the reset done and the slots kept", s)
	}
	if second := f.read("sysroot/etc/machine-id"); second == first {
		t.Errorf("machine-id is still %q; want a new one", second)
	}
}

// sealRecord gives a record its checksum, as docs/ondisk.md has it.
func sealRecord(b []byte) {
	binary.LittleEndian.PutUint32(b[24:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}
