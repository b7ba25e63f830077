package watchdog_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/watchdog"
)

// A dog is a watchdog with a clock, which is the test's own.
type dog struct {
	now    time.Duration
	log    []string
	opens  map[int]error // what the n-th open fails with; 0 is all of them
	pinged error
	n      int
}

func (d *dog) note(what string) { d.log = append(d.log, fmt.Sprintf("%v %s", d.now, what)) }

func (d *dog) open() (watchdog.Device, error) {
	d.n++
	for _, n := range []int{0, d.n} {
		if err := d.opens[n]; err != nil {
			return nil, fmt.Errorf("opening: %w", err)
		}
	}
	d.note("open")
	return d, nil
}

func (d *dog) Ping() error {
	d.note("ping")
	return d.pinged
}

func (d *dog) Timeout() (time.Duration, error) { return 20 * time.Second, nil }

func (d *dog) Close() error {
	d.note("close")
	return nil
}

var errBroken = errors.New("broken")

// The watchdog is pinged until the end of the grace or a new owner, never
// after; between pings it is free for whoever wants it.
func TestBridge(t *testing.T) {
	pings := func(at ...string) (log []string) {
		for _, when := range at {
			log = append(log, when+" open", when+" ping", when+" close")
		}
		return log
	}
	for _, tt := range []struct {
		name   string
		grace  time.Duration
		opens  map[int]error
		pinged error
		want   []string
		err    string // "" when it is taken
	}{
		{"nobody comes", 35 * time.Second, nil, nil, pings("10s", "20s", "30s", "35s"), "nobody opened it"},
		{"the end falls on a ping", 20 * time.Second, nil, nil, pings("10s", "20s"), "nobody opened it"},
		{"taken at once", time.Minute, map[int]error{1: syscall.EBUSY}, nil, nil, ""},
		{"taken later", time.Minute, map[int]error{3: syscall.EBUSY}, nil, pings("10s", "20s"), ""},
		{"taken after the last ping but one", 15 * time.Second, map[int]error{2: syscall.EBUSY}, nil, pings("10s"), ""},
		{"no time at all", 0, nil, nil, pings("0s"), "nobody opened it"},
		{"an open that fails once", 35 * time.Second, map[int]error{1: errBroken}, nil, pings("20s", "30s", "35s"), "nobody opened it"},
		{"it is gone", 35 * time.Second, map[int]error{0: fs.ErrNotExist}, nil, nil, "not exist"},
		{"a ping that fails", 15 * time.Second, nil, errBroken, pings("10s", "15s"), "broken"},
	} {
		d := &dog{opens: tt.opens, pinged: tt.pinged}
		err := watchdog.Bridge{
			Open: d.open, Now: func() time.Duration { return d.now }, Sleep: func(s time.Duration) { d.now += s },
			Timeout: 20 * time.Second, Grace: tt.grace,
		}.Run()
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: Run() = %v; want %q", tt.name, err, tt.err)
		}
		if d.now > tt.grace {
			t.Errorf("%s: it ended after %v; want at most %v", tt.name, d.now, tt.grace)
		}
		if diff := cmp.Diff(tt.want, d.log); diff != "" {
			t.Errorf("%s: it did (-want +got):\n%s", tt.name, diff)
		}
	}
}

// A guard looks before each ping, and what it does not like ends the pings.
func TestGuard(t *testing.T) {
	d, looks := &dog{}, 0
	wait := func(_ context.Context, t time.Duration) error {
		d.now += t
		return nil
	}
	err := watchdog.Guard{Device: d, Every: 5 * time.Second, Wait: wait, Sign: func() error {
		d.note("look")
		if looks++; looks == 3 {
			return errBroken
		}
		return nil
	}}.Run(t.Context())
	want := []string{"0s look", "0s ping", "5s look", "5s ping", "10s look"}
	if diff := cmp.Diff(want, d.log); diff != "" || !errors.Is(err, errBroken) {
		t.Errorf("Run() = %v; want %v; it did (-want +got):\n%s", err, errBroken, diff)
	}
	well := func() error { return nil }
	for name, g := range map[string]watchdog.Guard{
		"a ping that fails": {Device: &dog{pinged: errBroken}, Sign: well},
		"told to end":       {Device: &dog{}, Sign: well, Wait: func(context.Context, time.Duration) error { return errBroken }},
	} {
		if err := g.Run(t.Context()); !errors.Is(err, errBroken) {
			t.Errorf("%s: Run() = %v; want %v", name, err, errBroken)
		}
	}
}

// What is not there is said to be so, and what is no watchdog has no time.
func TestOpen(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := watchdog.Open(int(dir.Fd()), "watchdog"); !errors.Is(err, watchdog.ErrNone) {
		t.Errorf("Open() of nothing = %v; want ErrNone", err)
	}
	if err := os.WriteFile(filepath.Join(dir.Name(), "watchdog"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := watchdog.Open(int(dir.Fd()), "watchdog")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := d.Timeout(); err == nil {
		t.Errorf("Timeout() of a file = %v; want an error", n)
	}
	if err := d.SetTimeout(time.Minute); err == nil {
		t.Error("SetTimeout() of a file did not fail")
	}
	if err := errors.Join(d.Ping(), d.Close()); err != nil {
		t.Error(err)
	}
}
