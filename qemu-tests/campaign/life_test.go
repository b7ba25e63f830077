package campaign_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
	"github.com/abupdate/abupdate/recovery/recoverytest"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

var errPower = errors.New("power")

// A supply is a disk whose power goes after some operations: of what was not
// synced then, a part is on the disk, the last of it torn.
type supply struct {
	blockdev.Device
	rnd     *rand.Rand
	left    int // operations until the power goes; negative: it stays
	dead    bool
	pending []written
}

type written struct {
	off int64
	p   []byte
}

func (s *supply) spend() bool {
	if s.left == 0 && !s.dead {
		s.dead = true
		for _, w := range s.pending {
			if s.rnd.IntN(2) == 0 {
				continue
			}
			sectors := len(w.p) / 512
			if sectors > 1 && s.rnd.IntN(3) == 0 {
				w.p = w.p[:512*s.rnd.IntN(sectors)]
			}
			if _, err := s.Device.WriteAt(w.p, w.off); err != nil {
				panic(err)
			}
		}
	}
	s.left--
	return !s.dead
}

func (s *supply) WriteAt(p []byte, off int64) (int, error) {
	if !s.spend() {
		return 0, errPower
	}
	s.pending = append(s.pending, written{off, slices.Clone(p)})
	return len(p), nil
}

func (s *supply) Sync() error {
	if !s.spend() {
		return errPower
	}
	for _, w := range s.pending {
		if _, err := s.Device.WriteAt(w.p, w.off); err != nil {
			return err
		}
	}
	s.pending = nil
	return nil
}

func (s *supply) ReadAt(p []byte, off int64) (int, error) {
	if s.dead {
		return 0, errPower
	}
	n, err := s.Device.ReadAt(p, off)
	for _, w := range s.pending {
		from, to := max(off, w.off), min(off+int64(n), w.off+int64(len(w.p)))
		if from < to {
			copy(p[from-off:to-off], w.p[from-w.off:])
		}
	}
	return n, err
}

// A life is a device in the hands of chance, and what is known of it.
type life struct {
	t         *testing.T
	r         refs
	rnd       *rand.Rand
	dev       blockdev.Device
	last      machine.Outcome
	confirmed map[string]bool // root hashes
	did       map[string]int
}

// run gives a command to the disk, one time in three with a cut.
func (l *life) run(name string, do func(*updater.System) error) {
	booted := &bootctl.Booted{Slot: l.last.Slot, Kernel: recoverytest.Kernel}
	p := &supply{Device: l.dev, rnd: l.rnd, left: -1}
	if l.rnd.IntN(3) == 0 {
		p.left = l.rnd.IntN(30)
	}
	err := try(p, booted, do)
	kind := fault.KindOf(err)
	switch {
	case p.dead:
		name += ", cut"
	case err == nil:
		p.left = -1 // what was done goes on to a reboot
		if serr := p.Sync(); serr != nil {
			l.t.Fatal(serr)
		}
	case kind == fault.Refused || kind == fault.Nothing || kind == fault.Usage:
		name += ", refused"
	default:
		l.t.Fatalf("%s: %v", name, err)
	}
	l.did[name]++
}

func (l *life) step() {
	names := []string{"v1", "v2", "v3"}
	any := updater.Allow{Downgrade: true, Denied: true, Same: true}
	switch k := l.rnd.IntN(9); k {
	case 0, 1, 2:
		name := names[l.rnd.IntN(len(names))]
		ref := l.r.update[name]
		if k == 0 {
			ref = l.r.image[name]
		}
		l.run("apply", apply(l.t, updater.ApplyOptions{Ref: ref, Allow: any}))
	case 3:
		l.run("apply a broken system", apply(l.t, updater.ApplyOptions{Ref: l.r.update["noinit"], Allow: any}))
	case 4:
		l.run("apply, and the slot rots", func(s *updater.System) error {
			opt := updater.ApplyOptions{Ref: l.r.update[names[l.rnd.IntN(len(names))]], Allow: any}
			if err := apply(l.t, opt)(s); err != nil {
				return err
			}
			return l.rot()
		})
	case 5:
		l.run("rollback", func(s *updater.System) error { _, err := s.Rollback(); return err })
	case 6:
		l.run("factory-reset", func(s *updater.System) error { _, err := s.FactoryReset(); return err })
	case 7:
		for range l.rnd.IntN(4) {
			l.boot()
		}
		l.did["reboots"]++
	case 8:
		l.run("mark-bad", func(s *updater.System) error { _, err := s.MarkBad(bootctl.SlotNone, "by order"); return err })
	}
}

// rot flips a bit in a slot that is to be tried.
func (l *life) rot() error {
	s := ut.State(l.t, l.dev)
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		if s.Slot(slot).Status != bootctl.Pending {
			continue
		}
		sec, err := recoverytest.Open(l.t, l.dev).Slot(slot)
		if err != nil {
			return err
		}
		var b [1]byte
		at := 4096 + l.rnd.Int64N(60_000)
		if _, err := sec.ReadAt(b[:], at); err != nil {
			return err
		}
		b[0] ^= 0x10
		if _, err := sec.WriteAt(b[:], at); err != nil {
			return err
		}
	}
	return nil
}

// boot starts the disk; what comes up is a system that was confirmed, or one
// that is tried.
func (l *life) boot() {
	before := ut.State(l.t, l.dev)
	tried := make(map[string]bool)
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		if s := before.Slot(slot); s.Status == bootctl.Pending {
			tried[s.RootHash] = true
		}
	}
	l.last = machine.Start(l.dev)
	switch {
	case l.last.End == machine.InRecovery && !l.good(before):
		l.rescue()
	case l.last.End != machine.Up:
		l.t.Fatalf("%v; state before: %+v", l.last, before)
	case !l.confirmed[l.last.RootHash] && !tried[l.last.RootHash]:
		l.t.Fatalf("%v; nobody ever confirmed it, and it was not to be tried", l.last)
	case strings.Contains(l.last.Version, machine.NoInit):
		l.t.Fatalf("%v; it has no init", l.last)
	}
}

// good says whether the state knows of a slot that nobody has called bad.
func (l *life) good(s bootctl.State) bool {
	return s.Slot(bootctl.SlotA).Status == bootctl.Good || s.Slot(bootctl.SlotB).Status == bootctl.Good
}

// rescue is what a person does in recovery: the golden image.
func (l *life) rescue() {
	l.did["rescue"]++
	m := machine.BootOnce(l.dev, "2\r")
	if !m.Switched {
		l.t.Fatalf("the golden image does not come up: %q", m.Messages)
	}
	l.last = machine.Outcome{End: machine.Up, Slot: m.Slot, RootHash: m.Content.Manifest.RootHash, Version: m.Content.Manifest.Version}
	l.confirmed[l.last.RootHash] = true
}

// Devices live through hundreds of updates, good and broken, power cuts,
// reboots, orders and rot, and always come up with a system that was confirmed
// or one that is tried.
func TestLife(t *testing.T) {
	r := builtRefs(t)
	lives, cycles := 4, 40
	if *full {
		lives, cycles = 10, 500
	}
	t.Run("lives", func(t *testing.T) {
		for seed := range lives {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				l := &life{t: t, r: r, rnd: rand.New(rand.NewPCG(uint64(seed), 7)), dev: device(t, r), confirmed: map[string]bool{}, did: map[string]int{}}
				l.last = machine.Start(l.dev)
				l.confirmed[l.last.RootHash] = true
				for range cycles {
					l.step()
					l.boot()
					if l.rnd.IntN(3) > 0 && try(l.dev, &bootctl.Booted{Slot: l.last.Slot, Kernel: recoverytest.Kernel}, markGood) == nil {
						l.confirmed[l.last.RootHash] = true
					}
				}
				t.Logf("%d cycles: %s", cycles, summary(l.did))
			})
		}
	})
}
