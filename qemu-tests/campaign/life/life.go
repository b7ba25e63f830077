// Package life is what may happen to a device in years, in the order that
// chance throws it, and the model that says what may come up after each thing.
// The devices are disks in memory, or guests of QEMU.
package life

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
)

// A Kind is what somebody does to a device.
type Kind string

const (
	Apply       Kind = "apply an update"
	ApplyImage  Kind = "apply an image"
	ApplyBroken Kind = "apply a broken system"
	ApplyRot    Kind = "apply, and the slot rots"
	Rollback    Kind = "rollback"
	Reset       Kind = "factory-reset"
	MarkBad     Kind = "mark-bad"
	Reboots     Kind = "reboots"
)

// kinds by how often they come.
var kinds = []Kind{Apply, Apply, ApplyImage, ApplyBroken, ApplyBroken, ApplyRot, Rollback, Reset, MarkBad, Reboots}

// A Step is one thing that happens, with what comes of it up to the next.
type Step struct {
	Kind    Kind
	Image   string  // that is applied
	Cut     float64 // after what part of the longest command the power goes; negative: it stays
	Again   int     // further boots that nobody confirms
	Confirm bool    // what is up after them
	Throw   uint64  // seeds what else the device leaves to chance
}

func (s Step) String() string {
	cut := "no cut"
	if s.Cut >= 0 {
		cut = fmt.Sprintf("cut at %.2f", s.Cut)
	}
	return fmt.Sprintf("%s (%s), %s, %d more boots, confirmed: %v", s.Kind, s.Image, cut, s.Again, s.Confirm)
}

// Images are the names of what can be applied.
type Images struct{ Good, Broken []string }

func draw(rnd *rand.Rand, images Images) Step {
	s := Step{Kind: kinds[rnd.IntN(len(kinds))], Cut: -1, Throw: rnd.Uint64(), Confirm: rnd.IntN(3) > 0}
	s.Image = images.Good[rnd.IntN(len(images.Good))]
	if s.Kind == ApplyBroken {
		s.Image = images.Broken[rnd.IntN(len(images.Broken))]
	}
	// Most commands are much shorter than the longest.
	if cut := rnd.Float64(); rnd.IntN(3) == 0 && s.Kind != Reboots {
		s.Cut = cut * cut
	}
	if s.Kind == Reboots {
		s.Again = rnd.IntN(4)
	}
	return s
}

// An End is how a command ended.
type End string

const (
	Done    End = "done"
	Refused End = "refused"
	Cut     End = "cut"
)

// A Device is what lives.
type Device interface {
	// Do does what the step says, and nothing for Reboots.
	Do(Step) (End, error)
	// State is the boot state, between two boots.
	State() (bootctl.State, error)
	// Boot starts the device, and again while what comes up goes down by itself.
	// It returns all that came up; of these the last one stays.
	Boot() ([]machine.Outcome, error)
	// Confirm says of what is up that it is good.
	Confirm() (End, error)
	// Restore is what a person does in recovery: the golden image.
	Restore() (machine.Outcome, error)
}

// A model is what is known of a device.
type model struct {
	dev       Device
	broken    func(version string) bool
	confirmed map[string]bool // root hashes
	did       map[string]int
}

// Live lives through so many steps of the life that the seed gives, and counts
// what happened. What may not be is an error, with what it takes to see it
// again. broken says of a version that no system of it stays up.
func Live(dev Device, images Images, broken func(version string) bool, seed uint64, steps int) (map[string]int, error) {
	m := &model{dev: dev, broken: broken, confirmed: make(map[string]bool), did: make(map[string]int)}
	rnd := rand.New(rand.NewPCG(seed, 7))
	// The first boot: what the device was made with is as good as confirmed.
	ups, err := dev.Boot()
	if err != nil {
		return m.did, fmt.Errorf("seed %d, first boot: %w", seed, err)
	}
	m.confirmed[ups[len(ups)-1].RootHash] = true
	for i := range steps {
		s := draw(rnd, images)
		if err := m.step(s); err != nil {
			return m.did, fmt.Errorf("seed %d, step %d, %v: %w", seed, i+1, s, err)
		}
	}
	return m.did, nil
}

func (m *model) step(s Step) error {
	end, err := m.dev.Do(s)
	if err != nil {
		return err
	}
	m.did[fmt.Sprintf("%s, %s", s.Kind, end)]++
	wanted := end == Done && (s.Kind == Apply || s.Kind == ApplyImage)
	for range 1 + s.Again {
		up, err := m.boot(wanted)
		if err != nil {
			return err
		}
		wanted = false
		if m.did["boots"]++; up.End != machine.Up {
			return fmt.Errorf("%v", up)
		}
		if s.Confirm {
			switch end, err := m.dev.Confirm(); {
			case err != nil:
				return fmt.Errorf("confirming %v: %w", up, err)
			case end == Done:
				m.confirmed[up.RootHash] = true
				m.did["confirmed"]++
			}
		}
	}
	return nil
}

// boot boots, and checks what comes up: systems that were confirmed, or one
// that is to be tried; that one first when it was applied and is wanted.
func (m *model) boot(wanted bool) (up machine.Outcome, err error) {
	before, err := m.dev.State()
	if err != nil {
		return up, err
	}
	tried, good := make(map[string]bool), false
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		s := before.Slot(slot)
		good = good || s.Status == bootctl.Good
		if s.Status == bootctl.Pending {
			tried[s.RootHash] = true
		}
	}
	ups, err := m.dev.Boot()
	if err != nil {
		return up, fmt.Errorf("%w; state before: %+v", err, before)
	}
	for _, up = range ups {
		switch {
		case up.End == machine.InRecovery && !good:
			m.did["restored in recovery"]++
			if up, err = m.dev.Restore(); err != nil {
				return up, err
			}
			m.confirmed[up.RootHash] = true
		case up.End != machine.Up:
			return up, fmt.Errorf("%v; state before: %+v", up, before)
		case !m.confirmed[up.RootHash] && !tried[up.RootHash]:
			return up, fmt.Errorf("%v; nobody ever confirmed it, and it was not to be tried", up)
		case wanted && !tried[up.RootHash]:
			return up, fmt.Errorf("%v; another system was applied; state before: %+v", up, before)
		}
		wanted = false
	}
	if m.broken(up.Version) {
		return up, fmt.Errorf("%v; no system of that version stays up", up)
	}
	return up, nil
}

// Summary lists how often each thing happened.
func Summary(did map[string]int) string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(did)) {
		parts = append(parts, fmt.Sprintf("%s %d", what, did[what]))
	}
	return strings.Join(parts, "; ")
}
