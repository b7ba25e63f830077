package qemutests

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/logwrites"
	"github.com/abupdate/abupdate/internal/vm"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

var full = flag.Bool("full", false, "replay everything that is worth it, not a sample")

// A replay says how many states are tried in memory, of those how many at
// syncs alone at most, and how many boot in QEMU.
type replay struct{ states, syncs, booted int }

// TestReplay logs what a whole guest gives to its disk, from the first boot
// over an update to its confirmation: the updater's writes, the boot state's,
// and those of the kernel and its file system between them. Then the power goes
// at each sync, and at many places between two.
func TestReplay(t *testing.T) {
	t.Parallel()
	bound := replay{states: 250, syncs: 60, booted: 1}
	if *full {
		bound = replay{states: 20_000, syncs: 5000, booted: 25}
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

func (d *device) log(file string) *logwrites.Reader {
	d.t.Helper()
	f, err := os.Open(file)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		d.t.Fatal(err)
	}
	r, err := logwrites.NewReader(f, st.Size())
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

// feed gives a log's writes and flushes to a recorder. A discard is nothing:
// QEMU's disk ignores it, as a disk may.
func (d *device) feed(rec *blockdevtest.Recorder, file string, marks map[int]string) {
	d.t.Helper()
	log := d.log(file)
	for i := 0; ; i++ {
		if name := marks[i]; name != "" {
			rec.Mark(name)
		}
		e, err := log.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = give(rec, e)
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
	d.t.Logf("%d entries: %d writes, %d syncs", log.Entries(), rec.Writes(), rec.Syncs())
}

func give(rec *blockdevtest.Recorder, e logwrites.Entry) error {
	if e.Flags.Has(logwrites.Mark) || e.Flags.Has(logwrites.Discard) {
		return nil
	}
	if e.Flags.Has(logwrites.Flush) {
		if err := rec.Sync(); err != nil {
			return err
		}
	}
	switch {
	case e.Len == 0:
		return nil
	case len(bytes.TrimLeft(e.Data, "\x00")) == 0:
		if err := rec.Zero(e.Off, e.Len); err != nil {
			return err
		}
	default:
		if _, err := rec.WriteAt(e.Data, e.Off); err != nil {
			return err
		}
	}
	if e.Flags.Has(logwrites.FUA) { // which QEMU does by a flush of its own
		return rec.Sync()
	}
	return nil
}

// wantSame compares all that was logged with what the guest's disk holds.
func (d *device) wantSame(rec *blockdevtest.Recorder) {
	d.t.Helper()
	dev, err := blockdev.Open(d.disk, blockdev.ReadOnly)
	if err != nil {
		d.t.Fatal(err)
	}
	defer dev.Close()
	d.eachDifference(rec, dev, func(off int64, _ []byte) {
		d.t.Fatalf("the log and the guest's disk differ at byte %d", off)
	})
}

// eachDifference calls do with each piece of a that b has otherwise.
func (d *device) eachDifference(a, b blockdev.Device, do func(off int64, data []byte)) {
	d.t.Helper()
	const piece = 64 << 10
	pa, pb := make([]byte, piece), make([]byte, piece)
	for off := int64(0); off < a.Size(); off += piece {
		n := min(piece, a.Size()-off)
		for dev, p := range map[blockdev.Device][]byte{a: pa, b: pb} {
			if _, err := dev.ReadAt(p[:n], off); err != nil && err != io.EOF {
				d.t.Fatal(err)
			}
		}
		if !bytes.Equal(pa[:n], pb[:n]) {
			do(off, pa[:n])
		}
	}
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

// put writes to a file what a state has otherwise than the disk before.
func (d *device) put(file string, img, before blockdev.Device) {
	d.t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	d.eachDifference(img, before, func(off int64, data []byte) {
		if _, err := f.WriteAt(data, off); err != nil {
			d.t.Fatal(err)
		}
	})
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
