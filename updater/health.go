package updater

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/health"
)

// HealthConfig is the table [health] of a device's configuration.
type HealthConfig struct {
	// Timeout is how long a check may take that says nothing else.
	Timeout Duration `toml:"timeout"`
	// Timeouts are those of single checks, by name.
	Timeouts map[string]Duration `toml:"timeouts"`
	// NoRead leaves out that a slot is read before it is confirmed for the
	// first time.
	NoRead bool `toml:"no_read"`
	// ReadRate is how fast it is read at most; 0 is DefaultReadRate.
	ReadRate Rate `toml:"read_rate"`
}

// checks is what the configuration says of single checks.
func (c HealthConfig) checks() health.Options {
	opt := health.Options{Timeout: time.Duration(c.Timeout), Timeouts: map[string]time.Duration{}}
	for name, d := range c.Timeouts {
		opt.Timeouts[name] = time.Duration(d)
	}
	return opt
}

func (c HealthConfig) check() error {
	if c.Timeout < 0 || c.ReadRate < 0 {
		return fmt.Errorf("[health]: timeout is %v, read_rate %v", c.Timeout, c.ReadRate)
	}
	for name, d := range c.Timeouts {
		if d <= 0 {
			return fmt.Errorf("[health.timeouts]: %s is %v", name, d)
		}
	}
	return nil
}

// BootComplete is the check of systemd's target. It is there where systemd
// runs.
const BootComplete = "boot-complete.target"

// startTarget says at its end what an operator wants to know first.
const startTarget = `systemctl start ` + BootComplete + ` && exit 0
failed=$(systemctl list-units --state=failed --plain --no-legend --no-pager | cut -d' ' -f1)
echo "failed units:" $failed
exit 1`

// bootTimeout is how long the system may take to come up.
const bootTimeout = 10 * time.Minute

// HealthOptions say how the booted system is examined. The zero value does it
// for real.
type HealthOptions struct {
	Config HealthConfig
	// Only reports: nothing is confirmed, marked or told.
	Only     bool
	Root     string // of the file system; "" is /
	Runner   health.Runner
	Now      func() time.Time
	Sleep    func(context.Context, time.Duration) error
	Tell     func(health.Result)
	Progress Progress
}

// A HealthReport is what Health found and did.
type HealthReport struct {
	Slot    bootctl.Slot    `json:"slot"`
	Version string          `json:"version,omitempty"`
	Healthy bool            `json:"healthy"`
	Reason  string          `json:"reason,omitempty"` // why it is not
	Checks  []health.Result `json:"checks"`
	// Read says that all of the slot was read against its hash tree: it is
	// before the first confirmation.
	Read bool `json:"read"`
	// Confirmed says that the slot is confirmed, MarkedBad that it was given
	// up: then Next boots next.
	Confirmed bool         `json:"confirmed"`
	MarkedBad bool         `json:"marked_bad"`
	Next      bootctl.Slot `json:"next"`
	Fallback  string       `json:"fallback,omitempty"`
}

// Health examines the booted system and confirms its slot, or gives it up:
// a slot that is tried for the first times is marked bad when another one is
// good; one that was good before is only not confirmed, which is counted as
// every such boot is. open opens the disk; the lock is held only while the
// outcome is saved, so that checks may call abupdate.
//
// The error is of kind fault.Verify or fault.Other when the system is not
// well; the report is there then, too.
func Health(ctx context.Context, open func(Access) (*System, error), opt HealthOptions) (*HealthReport, error) {
	h := &examination{opt: opt, open: open}
	if h.opt.Runner == nil {
		h.opt.Runner = health.Exec{}
	}
	if h.opt.Sleep == nil {
		h.opt.Sleep = sleep
	}
	if err := h.begin(); err != nil {
		return nil, err
	}
	defer h.sys.Close()
	bad, err := h.examine(ctx)
	if err != nil {
		return nil, err
	}
	if bad != nil {
		h.report.Reason = bad.Error()
	}
	h.report.Healthy = bad == nil
	if opt.Only {
		return &h.report, bad
	}
	if err := h.settle(ctx); err != nil {
		return nil, errors.Join(err, bad)
	}
	return &h.report, bad
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// examination is one running Health.
type examination struct {
	opt    HealthOptions
	open   func(Access) (*System, error)
	sys    *System // for reading
	state  bootctl.State
	slot   bootctl.Slot
	report HealthReport
}

// begin finds out what runs.
func (h *examination) begin() (err error) {
	if h.sys, err = h.open(Read); err != nil {
		return err
	}
	if h.sys.booted == nil {
		err = fault.Errorf(fault.Usage, "this machine does not run from %s", h.sys.name)
	} else if h.slot = h.sys.booted.Slot; !h.slot.IsRoot() {
		err = fault.Errorf(fault.Refused, "slot %v runs, which is not confirmed", h.slot)
	} else {
		h.state, err = h.sys.load()
	}
	if err != nil {
		h.sys.Close()
		return err
	}
	h.report.Slot, h.report.Version = h.slot, h.state.Slot(h.slot).Version
	h.report.Confirmed, h.report.Next, h.report.Fallback = h.state.LastBoot.Confirmed, h.state.Active(), h.state.Fallback
	return nil
}

// examine runs the checks, then reads the slot. bad is what is not well; err
// says that it could not be found out.
func (h *examination) examine(ctx context.Context) (bad, err error) {
	checks, err := health.Find(h.opt.Root, h.opt.Config.checks())
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join("/", h.opt.Root, "run/systemd/system")); err == nil {
		checks = append([]health.Check{h.bootComplete()}, checks...)
	}
	h.report.Checks, err = health.Run(ctx, checks, health.RunOptions{
		Runner: h.opt.Runner, Dir: filepath.Join("/", h.opt.Root, health.ResultsDir), Env: h.environ(), Now: h.opt.Now, Tell: h.opt.Tell,
	})
	if err != nil {
		return nil, err
	}
	if failed := health.Failed(h.report.Checks); failed != nil {
		return fault.Errorf(fault.Other, "check %s: %s", failed.Name, failed.Reason), nil
	}
	if h.opt.Only || h.opt.Config.NoRead || h.state.Slot(h.slot).Proven {
		return nil, nil
	}
	h.report.Read = true
	err = h.sys.readGently(ctx, h.slot, newLimit(h.opt.Config.ReadRate, h.opt.Now, h.opt.Sleep), h.opt.Progress)
	switch {
	case err == nil || ctx.Err() != nil:
		return nil, err
	case isDamage(err):
		return fault.Errorf(fault.Verify, "slot %v is damaged: %w", h.slot, err), nil
	}
	return fmt.Errorf("slot %v cannot be read: %w", h.slot, err), nil
}

// bootComplete is the check that systemd has everything up that the image
// asks for. The unit that runs this is ordered behind the target, so it waits
// only when it is called by hand.
func (h *examination) bootComplete() health.Check {
	return health.Check{
		Name: BootComplete, Argv: []string{"/bin/sh", "-c", startTarget}, Required: true,
		Timeout: cmp.Or(time.Duration(h.opt.Config.Timeouts[BootComplete]), bootTimeout),
	}
}

// environ tells checks what they look at.
func (h *examination) environ() []string {
	return []string{
		"ABUPDATE_SLOT=" + h.slot.String(), "ABUPDATE_VERSION=" + h.report.Version,
		"ABUPDATE_TRY=" + strconv.Itoa(h.sys.booted.Try), "ABUPDATE_FALLBACK=" + h.state.Fallback,
	}
}

// settle saves the outcome and tells of it.
func (h *examination) settle(ctx context.Context) error {
	sys, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer sys.Close()
	old, err := sys.loadToChange()
	if err != nil {
		return err
	}
	state, err := h.decide(old)
	if err != nil {
		return err
	}
	if _, err := sys.commit(old, state, h.slot); err != nil {
		return err
	}
	h.report.Confirmed, h.report.Next, h.report.Fallback = state.LastBoot.Confirmed, state.Active(), state.Fallback
	h.tell(old)
	return nil
}

// decide is what becomes of the slot.
func (h *examination) decide(s bootctl.State) (bootctl.State, error) {
	switch {
	case h.report.Healthy:
		return s.Confirm(h.slot)
	case s.LastBoot.Slot == h.slot && !s.LastBoot.Confirmed && s.CanLeave(h.slot):
		h.report.MarkedBad = true
		return s.MarkBad(h.slot, h.report.Reason)
	}
	return s.FailCheck(h.slot, h.report.Reason), nil
}

// lockTries is how often, a second apart, the lock is asked for.
const lockTries = 120

// lock opens the disk to change it. What was examined for minutes is not lost
// because another abupdate runs just now.
func (h *examination) lock(ctx context.Context) (*System, error) {
	for try := 1; ; try++ {
		sys, err := h.open(Change)
		if fault.KindOf(err) != fault.Busy || try == lockTries {
			return sys, err
		}
		if err := h.opt.Sleep(ctx, time.Second); err != nil {
			return nil, err
		}
	}
}

// tell tells of the outcome in the log, and of what an operator should see at
// the next login. Neither is a reason to fail.
func (h *examination) tell(old bootctl.State) {
	log := health.Log{Root: h.opt.Root}
	fields := map[string]string{"ABUPDATE_SLOT": h.slot.String(), "ABUPDATE_VERSION": h.report.Version}
	send := func(id string, priority int, text string) {
		_ = log.Send(health.Message{ID: id, Priority: priority, Text: text, Fields: fields})
	}
	name := slotName(h.slot, h.report.Version)
	switch {
	case h.report.Healthy && !old.LastBoot.Confirmed:
		send(health.IDConfirmed, health.Notice, name+" is confirmed")
	case h.report.MarkedBad:
		send(health.IDCheckFailed, health.Error, fmt.Sprintf("%s is given up: %s; slot %v boots next", name, h.report.Reason, h.report.Next))
	case !h.report.Healthy:
		send(health.IDCheckFailed, health.Error, fmt.Sprintf("%s is not confirmed: %s", name, h.report.Reason))
	}
	if h.report.Fallback != "" && !h.report.MarkedBad {
		send(health.IDFallback, health.Warning, name+" runs as a fallback: "+h.report.Fallback)
	}
	_ = health.Motd(h.opt.Root, h.motd(name))
}

func (h *examination) motd(name string) string {
	switch {
	case h.report.MarkedBad:
		return fmt.Sprintf("abupdate: %s is given up: %s; slot %v boots next", name, h.report.Reason, h.report.Next)
	case !h.report.Healthy:
		return fmt.Sprintf("abupdate: %s is not well: %s", name, h.report.Reason)
	}
	return fallbackLine(name, h.report.Fallback)
}

func fallbackLine(name, fallback string) string {
	if fallback == "" {
		return ""
	}
	return fmt.Sprintf("abupdate: this is a fallback, %s runs: %s", name, fallback)
}

// UpdateMotd lets logins see what an order made of the booted system, below
// root. What an examination before the order found does not count any more.
func (s *System) UpdateMotd(root string) error {
	if s.booted == nil {
		return nil
	}
	state, err := s.load()
	if err != nil {
		return err
	}
	return health.Motd(root, fallbackLine(slotName(s.booted.Slot, s.booted.Version), state.Fallback))
}

func slotName(slot bootctl.Slot, version string) string {
	return fmt.Sprintf("slot %v (version %s)", slot, cmp.Or(version, "unknown"))
}
