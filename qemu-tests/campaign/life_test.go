package campaign_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/qemu-tests/campaign/life"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
	"github.com/abupdate/abupdate/recovery/recoverytest"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// seed is that of the first life, the next ones count on from there.
var seed = flag.Uint64("seed", 1, "the seed of the first life; a life that failed can be lived again")

var lifeImages = life.Images{Good: []string{"v1", "v2", "v3"}, Broken: []string{"noinit", "panics"}}

// panics in a version says that what comes up goes down again.
const panics = "panics"

func broken(version string) bool {
	return strings.Contains(version, machine.NoInit) || strings.Contains(version, panics)
}

// alive is a device in memory.
type alive struct {
	t    *testing.T
	r    refs
	dev  blockdev.Device
	last machine.Outcome
}

var _ life.Device = (*alive)(nil)

func (a *alive) State() (bootctl.State, error) { return ut.State(a.t, a.dev), nil }

// Do gives a command, perhaps with a cut.
func (a *alive) Do(s life.Step) (life.End, error) {
	rnd := rand.New(rand.NewPCG(s.Throw, 1))
	p := &supply{Device: a.dev, rnd: rnd, left: -1}
	if s.Cut >= 0 {
		p.left = int(s.Cut * 30)
	}
	err := try(p, a.booted(), a.command(s))
	if err == nil {
		err = p.settle()
	}
	if err == nil && s.Kind == life.ApplyRot {
		err = a.rot(rnd)
	}
	return a.end(p, err)
}

func (a *alive) booted() *bootctl.Booted {
	return &bootctl.Booted{Slot: a.last.Slot, Kernel: recoverytest.Kernel}
}

func (a *alive) end(p *supply, err error) (life.End, error) {
	kind := fault.KindOf(err)
	switch {
	case p.dead:
		return life.Cut, nil
	case err == nil:
		return life.Done, nil
	case kind == fault.Refused || kind == fault.Nothing || kind == fault.Usage:
		return life.Refused, nil
	}
	return "", err
}

func (a *alive) command(s life.Step) func(*updater.System) error {
	ref := a.r.update[s.Image]
	if s.Kind == life.ApplyImage {
		ref = a.r.image[s.Image]
	}
	switch s.Kind {
	case life.Rollback:
		return func(s *updater.System) error { _, err := s.Rollback(); return err }
	case life.Reset:
		return func(s *updater.System) error { _, err := s.FactoryReset(); return err }
	case life.MarkBad:
		return func(s *updater.System) error { _, err := s.MarkBad(bootctl.SlotNone, "by order"); return err }
	case life.Reboots:
		return func(*updater.System) error { return nil }
	}
	return apply(a.t, updater.ApplyOptions{Ref: ref, Allow: updater.Allow{Downgrade: true, Denied: true, Same: true}})
}

// rot flips a bit in a slot that is to be tried.
func (a *alive) rot(rnd *rand.Rand) error {
	s := ut.State(a.t, a.dev)
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		if s.Slot(slot).Status != bootctl.Pending {
			continue
		}
		sec, err := recoverytest.Open(a.t, a.dev).Slot(slot)
		if err != nil {
			return err
		}
		var b [1]byte
		at := 4096 + rnd.Int64N(60_000)
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

// Boot boots until something stays: what panics comes up, and is gone.
func (a *alive) Boot() (ups []machine.Outcome, err error) {
	for {
		a.last = machine.Start(a.dev)
		ups = append(ups, a.last)
		if !strings.Contains(a.last.Version, panics) {
			return ups, nil
		}
		if len(ups) > 10 {
			return ups, fmt.Errorf("it boots what panics for the %d. time", len(ups))
		}
	}
}

func (a *alive) Confirm() (life.End, error) {
	p := &supply{Device: a.dev, left: -1}
	err := try(p, a.booted(), markGood)
	if err == nil {
		err = p.settle()
	}
	return a.end(p, err)
}

func (a *alive) Restore() (machine.Outcome, error) {
	m := machine.BootOnce(a.dev, "2\r")
	if !m.Switched {
		return machine.Outcome{}, fmt.Errorf("the golden image does not come up: %q", m.Messages)
	}
	a.last = machine.Outcome{End: machine.Up, Slot: m.Slot, RootHash: m.Content.Manifest.RootHash, Version: m.Content.Manifest.Version}
	return a.last, nil
}

// Devices live through hundreds of updates, good and broken, power cuts,
// reboots, orders and rot, and always come up with a system that was confirmed
// or one that is tried.
func TestLife(t *testing.T) {
	r := builtRefs(t)
	base := device(t, r)
	lives := 2
	if *full {
		lives = 20
	}
	const steps = 500
	total := make(map[string]int)
	var mu sync.Mutex
	t.Run("lives", func(t *testing.T) {
		for i := range lives {
			s := *seed + uint64(i)
			t.Run(fmt.Sprint(s), func(t *testing.T) {
				t.Parallel()
				a := &alive{t: t, r: r, dev: blockdevtest.NewImage(base)}
				did, err := life.Live(a, lifeImages, broken, s, steps)
				if err != nil {
					t.Errorf("%v\nto live it again: go test ./qemu-tests/campaign -run TestLife -seed %d", err, s)
				}
				mu.Lock()
				defer mu.Unlock()
				for what, n := range did {
					total[what] += n
				}
			})
		}
	})
	t.Logf("seed %d, %d lives of %d cycles: %s", *seed, lives, steps, life.Summary(total))
}
