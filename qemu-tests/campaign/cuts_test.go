package campaign_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
	"github.com/abupdate/abupdate/recovery/recoverytest"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

var full = flag.Bool("full", false, "try everything, not a sample")

func exit(code int) { os.Exit(code) }

// goOnEvery is after how many disks that were damaged one is taken further.
const goOnEvery = 23

// A density says how many of a scenario's cuts are tried, and what for.
type density struct {
	first, second blockdevtest.Bounds // of what is cut, and of what is cut after that
	// About so many states come of a second cut, of cuts that lie evenly: in the
	// boot that follows, and in the same command that is given again.
	boot, same int
	further    int // states that are taken to the next update
}

var (
	sample = density{
		first: blockdevtest.Bounds{Tears: 400, Chance: 200}, second: blockdevtest.Bounds{Tears: 400, Chance: 100},
		boot: 2000, same: 12_000, further: 5,
	}
	everything = density{
		first: blockdevtest.Bounds{Tears: 2048, Chance: 500}, second: blockdevtest.Bounds{Tears: 400, Chance: 200},
		boot: 10_000, same: 80_000, further: 50,
	}
)

// least is how many states are tried of all scenarios, at the least.
const least = 100_000

// The power may go at any write of anything, and again in what follows: what
// boots then is the system from before or the one from after, whole, and
// updates go on from there.
func TestPowerCuts(t *testing.T) {
	d := sample
	if *full {
		d = everything
	}
	r := builtRefs(t)
	base := device(t, r)
	known := newVerdicts()
	tallies := make([]tally, len(scenarios))
	t.Run("scenarios", func(t *testing.T) {
		for i, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				e := s.record(t, r, base, nil)
				e.known, e.tally = known, &tallies[i]
				e.tally.writes, e.tally.syncs = e.rec.Writes(), e.rec.Syncs()
				e.try(d)
				if e.states == 0 {
					t.Error("no state was tried")
				}
				if e.violations > 0 {
					t.Errorf("%d violations; the first: %s", e.violations, e.first)
				}
			})
		}
	})
	var total tally
	tried := 0
	for i, s := range scenarios {
		if tallies[i].states > 0 { // not left out by -run
			tried++
			t.Logf("%-44s %v", s.name, &tallies[i])
			total.merge(&tallies[i])
		}
	}
	if tried == len(scenarios) && total.states < least {
		t.Errorf("%d states; want %d", total.states, least)
	}
	t.Logf("%-44s %v", "in all", &total)
	t.Logf("%d states, %d of them distinct disks: %s", total.states, total.distinct, total.ends())
}

// An experiment is a scenario that was recorded, from a disk that comes to old
// to one that comes to now.
type experiment struct {
	scenario
	*tally
	t        *testing.T
	r        refs
	old, now machine.Outcome
	state    bootctl.State // after it
	rec      *blockdevtest.Recorder
	known    *verdicts
}

// record does what the scenario says. The operation's disk may have something
// around it.
func (s scenario) record(t *testing.T, r refs, base blockdev.Device, wrap func(blockdev.Device) blockdev.Device) *experiment {
	t.Helper()
	var dev blockdev.Device = blockdevtest.NewImage(base)
	if s.larger > 0 {
		dev = recoverytest.Grown(base, s.larger)
	}
	s.before(t, r, dev)
	e := &experiment{scenario: s, tally: new(tally), t: t, r: r, known: newVerdicts()}
	e.old = machine.Start(blockdevtest.NewImage(dev))
	e.rec = blockdevtest.NewRecorder(dev)
	var on blockdev.Device = e.rec
	if wrap != nil {
		on = wrap(on)
	}
	if err := s.do(t, r, on); err != nil {
		t.Fatal(err)
	}
	e.rec.Mark("done")
	e.state = ut.State(t, e.rec)
	e.now = machine.Start(blockdevtest.NewImage(e.rec))
	if e.now.End != machine.Up || e.old.End != machine.Up && !s.waits {
		t.Fatalf("before: %v; after: %v; want systems that are up", e.old, e.now)
	}
	return e
}

// try tries the cuts. One that gives the same disk as another is not taken
// further.
func (e *experiment) try(d density) {
	first := make(map[uint64]blockdevtest.Cut) // by the sum of the disk
	for img, cut := range e.rec.CrashesWithin(d.first) {
		if _, ok := first[img.Sum()]; !ok {
			first[img.Sum()] = cut
		}
	}
	n, boots, same := 0, 0, 0
	for img, cut := range e.rec.CrashesWithin(d.first) {
		done := cut.Reached("done")
		if done && !ut.State(e.t, img).Equal(e.state) {
			e.violation("cut %v: it was done, and the boot state is %+v; want %+v", cut, ut.State(e.t, img), e.state)
		}
		e.check(img, done, cut)
		if first[img.Sum()].String() != cut.String() {
			continue
		}
		if d.boot > 0 && boots <= n*d.boot/len(first) {
			boots += e.again(img, cut, done, blockdevtest.Bounds{Tears: d.second.Tears}, "the boot after it", bootOnce)
		}
		if e.goesOn && d.same > 0 && same <= n*d.same/len(first) {
			same += e.again(img, cut, done, d.second, "the same command again", func(dev blockdev.Device) error { return e.do(e.t, e.r, dev) })
		}
		if n++; n*d.further/len(first) > (n-1)*d.further/len(first) {
			if o := machine.Start(img); o.End == machine.Up {
				if err := goOn(e.t, e.r, img, o); err != nil {
					e.violation("cut %v, then %v: %v", cut, o, err)
				}
				e.further++
			}
		}
	}
}

func bootOnce(dev blockdev.Device) error { machine.BootOnce(dev, ""); return nil }

// again cuts what follows a cut, and returns in how many ways.
func (e *experiment) again(dev blockdev.Device, first blockdevtest.Cut, done bool, b blockdevtest.Bounds, what string, do func(dev blockdev.Device) error) int {
	rec := blockdevtest.NewRecorder(blockdevtest.NewImage(dev))
	if err := do(rec); err != nil && fault.KindOf(err) != fault.Nothing {
		e.violation("cut %v, then %s, not cut: %v", first, what, err)
		return 1
	}
	n := 0
	for img, cut := range rec.CrashesWithin(b) {
		e.check(img, done, first, what, cut)
		n++
	}
	e.twice += n
	return n
}

// check boots a disk and notes what is wrong with it, and with what it comes
// to. No cut makes a boot fail that did not fail without.
func (e *experiment) check(dev *blockdevtest.Image, done bool, cuts ...any) {
	v, fresh := e.known.of(dev)
	e.add(v.Outcome, e.old, e.now, fresh)
	err := e.scenario.check(v.Outcome, e.old, e.now, done)
	switch {
	case err == nil && v.broken != nil:
		err = v.broken
	case err == nil && v.Boots > max(e.old.Boots, e.now.Boots):
		err = fmt.Errorf("%v; want no more than %d boots", v.Outcome, max(e.old.Boots, e.now.Boots))
	}
	if err != nil {
		e.violation("cut %v: %v", cuts, err)
	}
}

// check says what is wrong with an outcome.
func (s scenario) check(o, old, now machine.Outcome, done bool) error {
	isOld, isNew := o.End == old.End && o.RootHash == old.RootHash, o.End == now.End && o.RootHash == now.RootHash
	switch {
	case !isOld && !isNew:
		return fmt.Errorf("%v; want the system from before (%s) or from after (%s)", o, old.Version, now.Version)
	case done && !isNew:
		return fmt.Errorf("%v; it was done, and gave version %s", o, now.Version)
	}
	return nil
}

// violation says what no cut may bring about; one is enough to look at.
func (e *experiment) violation(format string, args ...any) {
	if e.violations++; e.violations == 1 {
		e.first = fmt.Sprintf(format, args...)
	}
}

// goOn takes a system that is up to the next update.
func goOn(t *testing.T, r refs, dev blockdev.Device, o machine.Outcome) error {
	booted := &bootctl.Booted{Slot: o.Slot, Kernel: recoverytest.Kernel}
	if err := try(dev, booted, markGood); err != nil {
		return fmt.Errorf("confirming: %w", err)
	}
	opt := updater.ApplyOptions{Ref: r.update["v3"], Allow: updater.Allow{Downgrade: true, Denied: true}}
	err := try(dev, booted, apply(t, opt))
	if err != nil && fault.KindOf(err) != fault.Nothing {
		return fmt.Errorf("the next apply: %w", err)
	}
	if next := machine.Start(dev); next.End != machine.Up || next.Version != "3.0" {
		return fmt.Errorf("after the next apply: %v", next)
	}
	return nil
}
