package qemutests

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/qemu-tests/campaign/life"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

var seed = flag.Uint64("seed", 3, "the seed of a device's life, which can be lived again")

// goDown are the versions whose init says hello and then ends or panics;
// noInit is the one that does not get so far.
var goDown, noInit = []string{"2.1", "2.2"}, "2.4"

// TestLife lets a device live: chance applies good and broken systems, cuts the
// power, orders rollbacks and resets, and lets slots rot. The model that says
// what may come up is that of campaign.TestLife.
func TestLife(t *testing.T) {
	t.Parallel()
	steps := 3
	if *full {
		steps = 25
	}
	a := &alive{device: newDevice(t)}
	images := life.Images{Good: []string{"v1", "v2", "v3"}, Broken: []string{"panics", "exits", "noinit"}}
	broken := func(version string) bool { return version == noInit || slices.Contains(goDown, version) }
	did, err := life.Live(a, images, broken, *seed, steps)
	if err != nil {
		t.Errorf("%v\nto live it again: go test ./qemu-tests -run '^TestLife$' -seed %d, with -full as it was", err, *seed)
	}
	t.Logf("seed %d, %d cycles: %s", *seed, steps, life.Summary(did))
}

// alive is a guest that lives; nil while the power is off.
type alive struct {
	*device
	g      *guest
	since  time.Time // when QEMU was started
	golden string    // the key that restores the golden image
}

var _ life.Device = (*alive)(nil)

// longest is about how long an apply takes in the guest.
const longest = 5 * time.Second

// Do gives the step's command in the guest, and kills QEMU for a cut.
func (a *alive) Do(s life.Step) (life.End, error) {
	a.t.Log(s)
	if s.Kind == life.Reboots {
		return life.Done, nil
	}
	args := command(s)
	if s.Cut >= 0 {
		if err := a.g.Begin(args...); err != nil {
			return "", err
		}
		time.Sleep(time.Duration(s.Cut * float64(longest)))
		a.off()
		return life.Cut, nil
	}
	end, err := a.order(args...)
	if s.Kind == life.ApplyRot && end == life.Done {
		a.off()
		err = a.rot()
	}
	return end, err
}

// command is what is typed.
func command(s life.Step) []string {
	repository := "/update:"
	if s.Kind == life.ApplyImage || s.Kind == life.ApplyBroken {
		repository = "/image:"
	}
	switch s.Kind {
	case life.Rollback:
		return []string{"abupdate", "rollback"}
	case life.Reset:
		return []string{"abupdate", "factory-reset", "--yes"}
	case life.MarkBad:
		return []string{"abupdate", "mark-bad"}
	}
	return []string{"abupdate", "apply", guestRegistry + repository + s.Image, "--insecure", "--allow-downgrade", "--allow-denied", "--allow-same"}
}

// order runs a command that may be refused.
func (a *alive) order(args ...string) (life.End, error) {
	switch r := a.g.try(args...); fault.Kind(r.Exit) {
	case 0:
		return life.Done, nil
	case fault.Refused, fault.Nothing, fault.Usage:
		return life.Refused, nil
	default:
		return "", fmt.Errorf("%q exited with %d: %s", args, r.Exit, r.Stderr)
	}
}

func (a *alive) off() {
	a.g.Kill()
	a.g = nil
}

// rot flips bits in a slot that is to be tried.
func (a *alive) rot() error {
	s, err := a.State()
	if err != nil {
		return err
	}
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		if s.Slot(slot).Status == bootctl.Pending {
			a.corrupt(slot, nil)
		}
	}
	return nil
}

// State is read from the disk, also under a guest that is up: what it saved it
// has synced.
func (a *alive) State() (bootctl.State, error) {
	dev, err := blockdev.Open(a.disk, blockdev.ReadOnly)
	if err != nil {
		return bootctl.State{}, err
	}
	defer dev.Close()
	return ut.State(a.t, dev), nil
}

// Boot starts the guest, or reboots it, and follows it until something stays.
// One that has run for long is switched off and on, since no guest may run for
// ever: what was done is on the disk.
func (a *alive) Boot() ([]machine.Outcome, error) {
	if a.g != nil && time.Since(a.since) > 5*time.Minute {
		a.off()
	}
	if a.g == nil {
		a.g, a.since = a.start(), time.Now()
	} else {
		a.g.reboot()
	}
	return a.follow()
}

func (a *alive) follow() (ups []machine.Outcome, err error) {
	for range 20 {
		o, err := a.next()
		if err != nil {
			return ups, err
		}
		ups = append(ups, o)
		if !slices.Contains(goDown, o.Version) {
			return ups, nil
		}
	}
	return ups, errors.New("it boots again and again")
}

var restoreEntry = regexp.MustCompile(`(?m)^\s*(\d)\W+restore the golden image into slot a`)

// next waits for a system to come up, or recovery.
func (a *alive) next() (machine.Outcome, error) {
	end := time.Now().Add(4 * bootTime)
	for time.Now().Before(end) {
		e, err := a.g.Event(deadline(a.t, 2*time.Second), "boot")
		if err == nil {
			return a.up(e.Decode)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			return machine.Outcome{}, err
		}
		if m, err := a.g.Expect(deadline(a.t, 10*time.Millisecond), restoreEntry); err == nil {
			a.golden = m[1]
			return machine.Outcome{End: machine.InRecovery}, nil
		}
	}
	return machine.Outcome{End: machine.Stranded}, nil
}

// up says what the agent said hello from.
func (a *alive) up(decode func(any) error) (machine.Outcome, error) {
	var b boot
	if err := decode(&b); err != nil {
		return machine.Outcome{}, err
	}
	s, err := a.State()
	if err != nil {
		return machine.Outcome{}, err
	}
	o := machine.Outcome{End: machine.Up, Slot: bootctl.SlotA, Version: b.Version}
	if b.Slot == bootctl.SlotB.String() {
		o.Slot = bootctl.SlotB
	}
	o.RootHash = s.Slot(o.Slot).RootHash
	a.t.Logf("up: slot %s, version %s", b.Slot, b.Version)
	return o, nil
}

func (a *alive) Confirm() (life.End, error) { return a.order("abupdate", "mark-good") }

// Restore types in recovery.
func (a *alive) Restore() (machine.Outcome, error) {
	a.g.expect(`choice \[`)
	a.g.typeKeys(a.golden + "\r")
	return a.next()
}
