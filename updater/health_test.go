package updater_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/health"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// patient is a system that Health examines.
type patient struct {
	t    *testing.T
	dev  blockdev.Device
	root string
	slot bootctl.Slot
	// fails are the checks that do not pass, ran those that were run.
	fails, ran []string
	env        []string
	busy       int           // how often the lock is not to be had
	slept      time.Duration // in all
	opened     []updater.Access
	opt        updater.HealthOptions
}

// newPatient is a system with v1 in slot A, confirmed, and v2 in slot B, which
// boots for the first time.
func newPatient(t *testing.T, checks ...string) *patient {
	t.Helper()
	return newPatientOf(t, crashImages(t), checks...)
}

func newPatientOf(t *testing.T, dir string, checks ...string) *patient {
	t.Helper()
	path := ut.Disk(t, "oci:"+dir+":v1")
	confirmed(t, path)
	sys := open(t, path)
	if _, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: "oci:" + dir + ":v2"}); err != nil {
		t.Fatal(err)
	}
	sys.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := &patient{t: t, dev: blockdev.NewMemory(b), root: t.TempDir()}
	for _, name := range checks {
		file := filepath.Join(p.root, "etc/abupdate/health.d", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.boot()
	return p
}

func (p *patient) state() bootctl.State { return ut.State(p.t, p.dev) }

func (p *patient) edit(f func(bootctl.State) bootctl.State) {
	p.t.Helper()
	if err := ut.Store(p.t, p.dev).Save(f(p.state())); err != nil {
		p.t.Fatal(err)
	}
}

// boot starts what comes next.
func (p *patient) boot() {
	p.edit(func(s bootctl.State) bootctl.State {
		c, s := s.Next()
		p.slot = c.Slot
		return s
	})
}

func (p *patient) open(access updater.Access) (*updater.System, error) {
	p.opened = append(p.opened, access)
	if access == updater.Change && p.busy > 0 {
		p.busy--
		return nil, fault.Errorf(fault.Busy, "another abupdate is running")
	}
	return updater.New(p.dev, &bootctl.Booted{Slot: p.slot, Try: 1})
}

// Run implements health.Runner.
func (p *patient) Run(_ context.Context, c health.Check, env []string, out io.Writer) error {
	p.ran, p.env = append(p.ran, c.Name), env
	if slices.Contains(p.fails, c.Name) {
		fmt.Fprintf(out, "%s is not well\n", c.Name)
		return errors.New("exit status 1")
	}
	return nil
}

func (p *patient) health() (*updater.HealthReport, error) {
	opt := p.opt
	opt.Root, opt.Runner, opt.Now = p.root, p, func() time.Time { return time.Unix(0, 0) }
	opt.Sleep = func(_ context.Context, d time.Duration) error { p.slept += d; return nil }
	return updater.Health(p.t.Context(), p.open, opt)
}

func (p *patient) motd() string {
	b, err := os.ReadFile(filepath.Join(p.root, health.MotdPath))
	if err != nil && !os.IsNotExist(err) {
		p.t.Error(err)
	}
	return strings.TrimSpace(string(b))
}

func TestHealthConfirms(t *testing.T) {
	p := newPatient(t, "net", "wanted/time")
	p.fails = []string{"time"}
	got, err := p.health()
	if err != nil || !got.Healthy || !got.Confirmed || !got.Read || got.MarkedBad || got.Slot != bootctl.SlotB || got.Version != "2.0" || len(got.Checks) != 2 {
		t.Fatalf("Health() = %+v, %v; want slot b read and confirmed", got, err)
	}
	st := p.state()
	if e := *st.Slot(bootctl.SlotB); e.Status != bootctl.Good || !st.LastBoot.Confirmed || st.Floor != "2.0" {
		t.Errorf("slot b is %+v, floor %q; want it good, 2.0", e, st.Floor)
	}
	if p.motd() != "" {
		t.Errorf("message of the day is %q; want none", p.motd())
	}
	if want := []string{"ABUPDATE_SLOT=b", "ABUPDATE_VERSION=2.0", "ABUPDATE_TRY=1", "ABUPDATE_FALLBACK="}; !slices.Equal(p.env, want) {
		t.Errorf("checks get %q; want %q", p.env, want)
	}
	p.boot() // the slot is known now
	if got, err := p.health(); err != nil || got.Read || !got.Confirmed {
		t.Errorf("Health() of the second boot = %+v, %v; want it confirmed without reading it", got, err)
	}
}

// Without checks it is mark-good, and a look at the slot.
func TestHealthWithoutChecks(t *testing.T) {
	p := newPatient(t)
	if got, err := p.health(); err != nil || !got.Confirmed || !got.Read || len(got.Checks) != 0 {
		t.Errorf("Health() = %+v, %v; want it read and confirmed", got, err)
	}
	if len(p.ran) != 0 {
		t.Errorf("%q ran", p.ran)
	}
}

func TestHealthGivesANewSystemUp(t *testing.T) {
	p := newPatient(t, "clock", "net")
	p.fails = []string{"net"}
	got, err := p.health()
	const reason = "check net: exit status 1: net is not well"
	if fault.KindOf(err) != fault.Other || got == nil || !got.MarkedBad || got.Confirmed || got.Read || got.Reason != reason || got.Next != bootctl.SlotA {
		t.Fatalf("Health() = %+v, %v; want slot b marked bad because of %q", got, err, reason)
	}
	st := p.state()
	e := *st.Slot(bootctl.SlotB)
	if e.Status != bootctl.Bad || e.LastFailure != "marked bad: "+reason || !st.IsDenied(e.Digest) || st.Active() != bootctl.SlotA {
		t.Errorf("slot b is %+v; want it bad because of the check, denied", e)
	}
	if !strings.Contains(p.motd(), "is given up: check net") {
		t.Errorf("message of the day is %q", p.motd())
	}
	if b, err := os.ReadFile(filepath.Join(p.root, health.ResultsDir, "net.log")); err != nil || string(b) != "net is not well\n" {
		t.Errorf("output kept is %q, %v", b, err)
	}
	p.fails = nil
	p.boot()
	back, err := p.health()
	if err != nil || back.Slot != bootctl.SlotA || !back.Confirmed || !strings.Contains(back.Fallback, reason) {
		t.Errorf("Health() of the fallback = %+v, %v; want slot a confirmed, and why", back, err)
	}
	if !strings.HasPrefix(p.motd(), "abupdate: this is a fallback, slot a (version 1.0) runs: slot b (2.0) marked bad: check net") {
		t.Errorf("message of the day is %q", p.motd())
	}
}

// A system that was good before is not left for what may be the network's
// fault.
func TestHealthOfAGoodSystem(t *testing.T) {
	p := newPatient(t, "net")
	if _, err := p.health(); err != nil {
		t.Fatal(err)
	}
	p.fails = []string{"net"}
	for i := range bootctl.MaxFailedBoots {
		p.boot()
		got, err := p.health()
		if fault.KindOf(err) != fault.Other || got.MarkedBad || got.Confirmed || got.Slot != bootctl.SlotB {
			t.Fatalf("boot %d: Health() = %+v, %v; want slot b not confirmed, and not marked", i, got, err)
		}
		if e := *ptr(p.state()).Slot(bootctl.SlotB); e.Status != bootctl.Good || !strings.HasPrefix(e.LastFailure, "check net") {
			t.Fatalf("boot %d: slot b is %+v; want good, and the check", i, e)
		}
	}
	if !strings.Contains(p.motd(), "is not well: check net") {
		t.Errorf("message of the day is %q", p.motd())
	}
	p.fails = nil
	if p.boot(); p.slot != bootctl.SlotA {
		t.Errorf("slot %v boots; want a, to which b yields", p.slot)
	}
	if got, err := p.health(); err != nil || !got.Confirmed || !strings.Contains(got.Fallback, "8 boots in a row: check net") {
		t.Errorf("Health() = %+v, %v; want a confirmed as a fallback", got, err)
	}
}

// After a boot was confirmed, a check that fails is reported and no more.
func TestHealthAfterConfirmation(t *testing.T) {
	p := newPatient(t, "net")
	if _, err := p.health(); err != nil {
		t.Fatal(err)
	}
	before := p.state()
	p.fails = []string{"net"}
	got, err := p.health()
	if fault.KindOf(err) != fault.Other || got.MarkedBad || got.Healthy || !got.Confirmed {
		t.Errorf("Health() = %+v, %v; want only a report", got, err)
	}
	if !p.state().Equal(before) {
		t.Errorf("the state changed: %+v", p.state())
	}
}

// Who knows better than the checks says so, and logins do not see any more
// what they found.
func TestMarkGoodAfterAFailedCheck(t *testing.T) {
	p := newPatient(t, "net")
	if _, err := p.health(); err != nil {
		t.Fatal(err)
	}
	p.fails = []string{"net"}
	p.boot()
	if _, err := p.health(); err == nil || p.motd() == "" {
		t.Fatalf("Health() = %v, message of the day %q; want both", err, p.motd())
	}
	sys, err := p.open(updater.Change)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sys.MarkGood(); err != nil {
		t.Fatal(err)
	}
	if err := sys.UpdateMotd(p.root); err != nil || p.motd() != "" {
		t.Errorf("UpdateMotd() = %v, message of the day %q; want none", err, p.motd())
	}
	p.edit(func(s bootctl.State) bootctl.State { s.Fallback = "slot a failed"; return s })
	if err := sys.UpdateMotd(p.root); err != nil || !strings.HasSuffix(p.motd(), "runs: slot a failed") {
		t.Errorf("UpdateMotd() = %v, message of the day %q; want the fallback", err, p.motd())
	}
}

func TestHealthOnly(t *testing.T) {
	p := newPatient(t, "net")
	before := p.state()
	for _, fails := range [][]string{nil, {"net"}} {
		p.opt.Only, p.fails, p.opened = true, fails, nil
		got, err := p.health()
		if (err == nil) != (fails == nil) || got.Confirmed || got.MarkedBad || got.Read {
			t.Errorf("Health() with failing %q = %+v, %v", fails, got, err)
		}
		if slices.Contains(p.opened, updater.Change) || !p.state().Equal(before) || p.motd() != "" {
			t.Errorf("something changed: opened %v, %+v, %q", p.opened, p.state(), p.motd())
		}
	}
}

// Before the first confirmation a block that nobody has read yet is found.
func TestHealthReadsTheSlot(t *testing.T) {
	p := newPatient(t)
	sec := ut.Slot(t, ut.DiskOn(t, p.dev), bootctl.SlotB)
	flip(t, sec, 100_000)
	got, err := p.health()
	if fault.KindOf(err) != fault.Verify || !got.MarkedBad || !strings.Contains(got.Reason, "slot b is damaged") {
		t.Errorf("Health() = %+v, %v; want slot b marked bad for damage", got, err)
	}
	p = newPatient(t)
	flip(t, ut.Slot(t, ut.DiskOn(t, p.dev), bootctl.SlotB), 100_000)
	p.opt.Config.NoRead = true
	if got, err := p.health(); err != nil || !got.Confirmed || got.Read {
		t.Errorf("Health() with no_read = %+v, %v; want it confirmed unread", got, err)
	}
}

// Reading takes its time: the clock stands still here, so all of it is slept.
func TestHealthReadsSlowly(t *testing.T) {
	p := newPatientOf(t, images(t))
	p.opt.Config.ReadRate = 1 << 10
	if _, err := p.health(); err != nil {
		t.Fatal(err)
	}
	// More than 400,000 bytes in pieces of 256 KiB; the first comes at once.
	if want := 256 * time.Second; p.slept != want {
		t.Errorf("slept %v; want %v", p.slept, want)
	}
}

func TestHealthOfBootComplete(t *testing.T) {
	p := newPatient(t, "net")
	if err := os.MkdirAll(filepath.Join(p.root, "run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	p.fails = []string{updater.BootComplete}
	got, err := p.health()
	if err == nil || !got.MarkedBad || !strings.HasPrefix(got.Reason, "check boot-complete.target: ") {
		t.Errorf("Health() = %+v, %v; want slot b marked bad because of the target", got, err)
	}
	if want := []string{updater.BootComplete, "net"}; !slices.Equal(p.ran, want) {
		t.Errorf("%q ran; want %q", p.ran, want)
	}
}

// The lock is not held while checks run, and waited for afterwards.
func TestHealthWaitsForTheLock(t *testing.T) {
	p := newPatient(t, "net")
	p.busy = 3
	if got, err := p.health(); err != nil || !got.Confirmed || p.slept != 3*time.Second {
		t.Errorf("Health() = %+v, %v after %v; want it confirmed after 3 s", got, err, p.slept)
	}
	p = newPatient(t)
	p.busy = 1000
	if _, err := p.health(); fault.KindOf(err) != fault.Busy || p.slept > 5*time.Minute {
		t.Errorf("Health() = %v after %v; want kind %d at last", err, p.slept, fault.Busy)
	}
}

// The only slot that boots is never given up.
func TestHealthOfTheOnlySlot(t *testing.T) {
	p := newPatient(t, "net")
	p.edit(func(s bootctl.State) bootctl.State {
		*s.Slot(bootctl.SlotA) = bootctl.SlotState{Status: bootctl.Empty}
		return s
	})
	p.fails = []string{"net"}
	got, err := p.health()
	if err == nil || got.MarkedBad || got.Confirmed || got.Next != bootctl.SlotB {
		t.Errorf("Health() = %+v, %v; want slot b neither confirmed nor given up", got, err)
	}
}

func TestHealthElsewhere(t *testing.T) {
	p := newPatient(t)
	p.slot = bootctl.SlotRecovery
	if _, err := p.health(); fault.KindOf(err) != fault.Refused {
		t.Errorf("Health() in recovery = %v; want kind %d", err, fault.Refused)
	}
	p.slot = bootctl.SlotA // says this machine; the state says b
	if _, err := p.health(); fault.KindOf(err) != fault.Refused {
		t.Errorf("Health() of another slot than was started = %v; want kind %d", err, fault.Refused)
	}
	_, err := updater.Health(t.Context(), func(updater.Access) (*updater.System, error) { return updater.New(p.dev, nil) }, updater.HealthOptions{Root: p.root})
	if fault.KindOf(err) != fault.Usage {
		t.Errorf("Health() of a disk that does not run = %v; want kind %d", err, fault.Usage)
	}
}

// A machine that goes down while checks run is no reason to give it up.
func TestHealthCanceled(t *testing.T) {
	p := newPatient(t, "net")
	before := p.state()
	ctx, cancel := context.WithCancel(t.Context())
	p.fails = []string{"net"}
	_, err := updater.Health(ctx, p.open, updater.HealthOptions{Root: p.root, Runner: canceling{p, cancel}})
	if fault.KindOf(err) != fault.Canceled || !p.state().Equal(before) {
		t.Errorf("Health() = %v, state %+v; want it canceled and unchanged", err, p.state())
	}
}

type canceling struct {
	*patient
	cancel func()
}

func (c canceling) Run(ctx context.Context, check health.Check, env []string, out io.Writer) error {
	c.cancel()
	return c.patient.Run(ctx, check, env, out)
}
