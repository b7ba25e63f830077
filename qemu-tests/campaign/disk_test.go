package campaign_test

import (
	"runtime/debug"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
	"github.com/abupdate/abupdate/recovery/recoverytest"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// images are the systems of a campaign, as updates and as ordinary images.
var images, removeImages = ut.Shared(map[string]ut.Image{
	"v1":     {Version: "1.0", Noise: 40_000},
	"v2":     {Version: "2.0", Noise: 150_000, Files: map[string]string{"usr/common": ut.Noise("common", 30_000)}},
	"v3":     {Version: "3.0", Noise: 70_000, Files: map[string]string{"usr/common": ut.Noise("common", 30_000)}},
	"noinit": {Version: "4.0-" + machine.NoInit, Noise: 20_000},
	"panics": {Version: "4.1-" + panics, Noise: 20_000},
})

func TestMain(m *testing.M) {
	debug.SetGCPercent(800) // garbage is most of what these tests make
	code := m.Run()
	removeImages()
	machine.Clean()
	exit(code)
}

// refs are what apply takes, by the name of the image.
type refs struct{ update, image map[string]string }

// builtRefs makes updates of the images.
func builtRefs(t *testing.T) refs {
	t.Helper()
	dir, out := images(t), t.TempDir()
	r := refs{map[string]string{}, map[string]string{}}
	for _, name := range []string{"v1", "v2", "v3", "noinit", "panics"} {
		r.image[name] = "oci:" + dir + ":" + name
		if _, err := updater.Build(t.Context(), updater.BuildOptions{Ref: r.image[name], Dir: out, Tag: name}); err != nil {
			t.Fatal(err)
		}
		r.update[name] = "oci:" + out + ":" + name
	}
	return r
}

// device is a disk with v1 in A, confirmed and booted before.
func device(t *testing.T, r refs) *blockdevtest.Image {
	t.Helper()
	d := recoverytest.NewDisk(t, 0, true)
	d.FillSlot(t, bootctl.SlotRecovery, "golden")
	order(t, d.Dev, func(s *updater.System) error {
		_, err := s.Apply(t.Context(), updater.ApplyOptions{Ref: r.update["v1"]})
		return err
	})
	state := d.State(t)
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		if info := *state.Slot(slot); info.Status == bootctl.Pending && slot != bootctl.SlotA {
			t.Fatalf("an empty disk gets its first system in slot %v", slot)
		}
	}
	d.SetState(t, bootctl.New().Install(bootctl.SlotA, state.Slot(bootctl.SlotA).Info()))
	if o := machine.Start(d.Dev); o.End != machine.Up || o.Slot != bootctl.SlotA {
		t.Fatalf("a new disk: %v", o)
	}
	confirm(t, d.Dev, bootctl.SlotA)
	use(t, d.Dev)
	return d.Dev
}

// use fills the parts of /var that a reset wipes with something, as a file
// system does when it is used.
func use(t *testing.T, dev blockdev.Device) {
	t.Helper()
	sec, err := recoverytest.Open(t, dev).Section(partitions.LabelVar)
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{4096, sec.Size() - partitions.BlankSize} {
		if _, err := sec.WriteAt([]byte(ut.Noise("var", partitions.BlankSize-4096)), off); err != nil {
			t.Fatal(err)
		}
	}
}

// order gives a command to a disk.
func order(t *testing.T, dev blockdev.Device, do func(*updater.System) error) {
	t.Helper()
	if err := try(dev, nil, do); err != nil {
		t.Fatal(err)
	}
}

func try(dev blockdev.Device, booted *bootctl.Booted, do func(*updater.System) error) error {
	sys, err := updater.New(dev, booted)
	if err != nil {
		return err
	}
	return do(sys)
}

// confirm marks the slot that is up as good.
func confirm(t *testing.T, dev blockdev.Device, slot bootctl.Slot) {
	t.Helper()
	if err := try(dev, &bootctl.Booted{Slot: slot, Kernel: recoverytest.Kernel}, markGood); err != nil {
		t.Fatal(err)
	}
}

func markGood(s *updater.System) error {
	_, err := s.MarkGood()
	return err
}

// rootHash is what a slot holds.
func rootHash(t *testing.T, dev blockdev.Device, slot bootctl.Slot) string {
	t.Helper()
	s := ut.State(t, dev)
	return s.Slot(slot).RootHash
}
