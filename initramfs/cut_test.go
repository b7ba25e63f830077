package initramfs_test

import (
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery/recoverytest"
)

// A boot that is cut at any write is followed by one that comes up: with a
// partition table that is whole, with a /var that was made to its end, in the
// slot that was to boot.
func TestBootSurvivesEveryCut(t *testing.T) {
	const larger = 256 << 20
	for _, tt := range []struct {
		name   string
		device func(t *testing.T) *device
		mkfs   bool // the boot makes /var
	}{
		{"first boot on a larger disk", func(t *testing.T) *device {
			d := installed(t)
			d.dev = recoverytest.Grown(d.dev, larger)
			return d
		}, true},
		{"first try of an update", func(t *testing.T) *device {
			d := updated(t)
			d.boot()
			save(d, d.state().Stage(bootctl.SlotB, d.slot(bootctl.SlotB).Info()))
			return d
		}, false},
		{"first try of another kernel", func(t *testing.T) *device {
			d := changing(t)
			up(t, d)
			save(d, d.state().Stage(bootctl.SlotB, d.slot(bootctl.SlotB).Info()))
			return d
		}, false},
		{"first boot of another kernel", func(t *testing.T) *device { return changing(t) }, true},
		{"factory reset", func(t *testing.T) *device {
			d := installed(t)
			d.boot()
			save(d, d.state().RequestReset())
			return d
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := tt.device(t)
			rec := blockdevtest.NewRecorder(d.dev)
			d.dev = rec
			want := up(t, d)
			if want.switched == nil || want.did("run ") != tt.mkfs {
				t.Fatalf("calls %q; want a boot, mkfs %v", want.calls, tt.mkfs)
			}
			rec.Mark("up")
			n := 0
			for img, cut := range rec.Crashes() {
				n++
				next := newDevice(t, img)
				next.images = d.images
				f := up(t, next)
				if f.switched == nil || f.booting != want.booting {
					t.Fatalf("cut %v: slot %v boots; want %v; log %q", cut, f.booting, want.booting, f.log)
				}
				if s := next.state(); s.MakingVar || s.Reset != bootctl.ResetNone {
					t.Fatalf("cut %v: var to be made %v, reset %q after the next boot", cut, s.MakingVar, s.Reset)
				}
				if cut.Reached("up") && f.did("run ") {
					t.Fatalf("cut %v: %q after /var was up", cut, f.calls)
				}
				if left := next.slot(bootctl.SlotB).TriesLeft; want.booting == bootctl.SlotB && left < bootctl.DefaultTries-2 {
					t.Fatalf("cut %v: %d tries left after two boots", cut, left)
				}
				p, _ := next.layout().Partition(partitions.LabelVar)
				if was, _ := d.layout().Partition(partitions.LabelVar); p != was {
					t.Fatalf("cut %v: var is %+v; want %+v", cut, p, was)
				}
			}
			t.Logf("%d cuts", n)
			if n < 10 {
				t.Errorf("%d cuts; want every write of a boot among them", n)
			}
		})
	}
}

// up boots until init runs, over a change of kernels.
func up(t *testing.T, d *device) *fakeSystem {
	f := d.boot(selectorBoot(t))
	if f.kexec != nil {
		f = f.second()
	}
	return f
}

// What mkfs left when it was cut may look like a file system. It is made
// again as long as its making was not seen to end.
func TestHalfMadeVarIsMadeAgain(t *testing.T) {
	d := installed(t)
	f := d.boot(func(f *fakeSystem) { f.panics["mount ext4"] = "power" })
	if !f.did("run /usr/sbin/mkfs.ext4") {
		t.Fatal("the first boot made no file system")
	}
	if s := d.state(); !s.MakingVar {
		t.Error("var counts as made before it was mounted")
	}
	if f := d.boot(); !f.did("run /usr/sbin/mkfs.ext4") || f.switched == nil {
		t.Errorf("calls %q; want it made again", f.calls)
	}
	if f := d.boot(); f.did("run") {
		t.Errorf("calls %q; want it kept from then on", f.calls)
	}
}
