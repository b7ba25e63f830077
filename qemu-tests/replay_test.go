package qemutests

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/vm"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

var full = flag.Bool("full", false, "replay everything, not a sample")

// A replay says how many states are tried in memory, about; how many at least;
// how many of those at syncs alone, at most; and how many boot in QEMU.
type replay struct{ states, least, syncs, booted int }

// TestReplay logs what a whole guest gives to its disk, from the first boot
// over an update to its confirmation: the updater's writes, the boot state's,
// and those of the kernel and its file system between them. Then the power goes
// at each sync, and at many places between two.
func TestReplay(t *testing.T) {
	t.Parallel()
	bound := replay{states: 250, least: 150, syncs: 60, booted: 1}
	if *full {
		bound = replay{states: 20_000, least: 2000, syncs: 5000, booted: 25}
	}
	d := newDevice(t)
	before, err := blockdev.Open(d.d.disk, blockdev.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	file := filepath.Join(t.TempDir(), "log")
	marks := d.recordUpdate(file)
	rec := blockdevtest.NewRecorder(before)
	d.feed(rec, file, marks)
	d.wantSame(rec)
	d.replay(rec, before, bound)
}

// recordUpdate is what is logged. It returns the promises by the number of
// entries that the log had when they were made.
func (d *device) recordUpdate(file string) map[int]string {
	d.t.Helper()
	cfg := d.cfg
	cfg.Disks = []vm.Disk{{Path: d.disk, WriteLog: file}}
	marks := make(map[int]string)
	mark := func(name string) { marks[d.log(file).Entries()] = name }
	g := start(d.t, cfg)
	g.wantBoot("a", "1.0")
	g.run("abupdate", "mark-good")
	g.run("guest", "write", "/var/lib/keep", "written at run time")
	g.applyUpdate("v2", "--insecure")
	mark("applied")
	g.reboot()
	g.wantBoot("b", "2.0")
	g.run("abupdate", "mark-good")
	mark("confirmed")
	if err := g.Quit(deadline(d.t, time.Minute)); err != nil {
		d.t.Fatal(err)
	}
	return marks
}

// replay tries the states, each in memory, some in QEMU.
func (d *device) replay(rec *blockdevtest.Recorder, before blockdev.Device, bound replay) {
	d.t.Helper()
	release := d.f.kernel.Release
	old := machine.StartRelease(blockdevtest.NewImage(before), release)
	now := machine.StartRelease(blockdevtest.NewImage(rec), release)
	if old.Version != "1.0" || now.Version != "2.0" {
		d.t.Fatalf("before: %v; after: %v; want versions 1.0 and 2.0", old, now)
	}
	want, all := sampler(rec, bound)
	booting := max(1, min(bound.states, all)/bound.booted)
	states, syncs, ofOld, booted := 0, 0, 0, 0
	for img, cut := range rec.CrashesIf(want) {
		boots := booted < bound.booted && states%booting == booting/2
		var file string
		if boots { // before the boot in memory, which writes to it
			file = filepath.Join(d.t.TempDir(), "state.img")
			copyFile(d.t, d.d.disk, file)
			d.put(file, img, before)
		}
		confirmed := true
		if cut.Reached("confirmed") {
			state := ut.State(d.t, img)
			confirmed = state.Slot(bootctl.SlotB).Status == bootctl.Good
		}
		o := machine.StartRelease(img, release)
		isOld, isNew := o.End == machine.Up && o.RootHash == old.RootHash, o.End == machine.Up && o.RootHash == now.RootHash
		switch {
		case !isOld && !isNew:
			d.t.Fatalf("cut %v: %v; want version 1.0 or 2.0", cut, o)
		case cut.Reached("applied") && !isNew:
			d.t.Fatalf("cut %v: %v; the update was applied", cut, o)
		case !confirmed:
			d.t.Fatalf("cut %v: slot b is not good; it was confirmed", cut)
		}
		states++
		if len(cut.Present) == 0 {
			syncs++
		}
		if isOld {
			ofOld++
		}
		if boots {
			booted++
			d.t.Logf("in QEMU: cut %v, version %s", cut, o.Version)
			d.boots(file, o)
		}
	}
	d.t.Logf("%d states of %d, %d of them at syncs: %d with the system from before, %d with the one from after; %d booted in QEMU",
		states, all, syncs, ofOld, states-ofOld, booted)
	if states < bound.least {
		d.t.Errorf("%d states; want %d", states, bound.least)
	}
	if ofOld == 0 || ofOld == states || booted != bound.booted {
		d.t.Errorf("%d of %d states have the old system, %d booted; want both systems, and %d", ofOld, states, booted, bound.booted)
	}
}

// sampler says which cuts are tried: those at syncs first, and as many others
// as there is room for, evenly. It returns how many there are, too.
func sampler(rec *blockdevtest.Recorder, bound replay) (want func(blockdevtest.Cut) bool, all int) {
	syncs := 0
	for range rec.CrashesIf(func(c blockdevtest.Cut) bool {
		if all++; len(c.Present) == 0 {
			syncs++
		}
		return false
	}) {
	}
	strideSync := max(1, (syncs+bound.syncs-1)/bound.syncs)
	stride := max(1, (all-syncs)/max(1, bound.states-syncs/strideSync))
	atSync, between := 0, 0
	return func(c blockdevtest.Cut) bool {
		if len(c.Present) == 0 {
			atSync++
			return atSync%strideSync == 0
		}
		between++
		return between%stride == 0
	}, all
}

// boots starts a state in QEMU, where the kernel has its say about /var, too.
func (d *device) boots(file string, want machine.Outcome) {
	d.t.Run("state", func(t *testing.T) {
		defer os.Remove(file)
		cfg := d.cfg
		cfg.Disks = []vm.Disk{{Path: file}}
		g := start(t, cfg)
		g.wantBoot(want.Slot.String(), want.Version)
		g.run("abupdate", "mark-good")
		g.run("guest", "write", "/var/lib/after", "written after the cut")
	})
}
