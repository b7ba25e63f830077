package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/watchdog"
	"github.com/abupdate/abupdate/updater"
)

func newWatchdog(a *app) *cobra.Command {
	var within, timeout time.Duration
	cmd := &cobra.Command{
		Use:     "watchdog",
		GroupID: groupDevice,
		Short:   "Take over the watchdog that was armed at boot, and keep it quiet",
		Long: `Opens /dev/watchdog and pings it for as long as the boot disk answers, and a new
system, with a good one to fall back to, is confirmed in time. Else the watchdog
resets the machine, and the try of the new system was counted.

It is for a device that was started with abupdate.watchdog=SECONDS and whose init
does not ping the watchdog itself, as systemd does with RuntimeWatchdogSec=;
abupdate-watchdog.service calls it. It ends only when it is told to, and then the
watchdog runs on: docs/kernels.md has the rest.

Exit code 6 when there is no watchdog, 77 when somebody else has it.`,
		Example: lines("abupdate watchdog", "abupdate watchdog --confirm-within 10m"),
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout != 0 && timeout < time.Second || within < 0 {
				return fault.Errorf(fault.Usage, "--timeout is at least 1s, --confirm-within 0 or more")
			}
			return a.guard(cmd.Context(), within, timeout)
		},
	}
	fs := cmd.Flags()
	fs.DurationVar(&within, "confirm-within", 30*time.Minute, "after the kernel's start, how long a new system may be without confirmation; 0 for ever")
	fs.DurationVar(&timeout, "timeout", 0, "set the watchdog's `time` (default: as it was armed)")
	return cmd
}

// guard keeps the watchdog quiet until it is told to end, or has a reason to.
func (a *app) guard(ctx context.Context, within, timeout time.Duration) error {
	sys, err := updater.Open(updater.OpenOptions{Access: updater.Read})
	if err != nil {
		return err
	}
	defer sys.Close()
	dog, err := takeWatchdog(ctx, timeout)
	if err != nil {
		return err
	}
	defer dog.Close()
	left, err := dog.Timeout()
	if err != nil {
		return err
	}
	if err := a.print(struct {
		Timeout float64 `json:"timeout_seconds"`
	}{left.Seconds()}, func(w io.Writer) {
		fmt.Fprintf(w, "took over the watchdog: %v without a ping reset the machine\n", left)
	}); err != nil {
		// To end here, with the watchdog taken, would reset the machine.
		a.complain(err)
	}
	err = watchdog.Guard{
		Device: dog, Every: watchdog.Interval(left), Wait: sleep,
		Sign: updater.Vigil{System: sys, Within: within, Uptime: uptime}.Sign,
	}.Run(ctx)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%w; the watchdog resets the machine", err)
}

// takeWatchdog opens the watchdog. Busy once may be abinit's bridge, which has it
// open for no longer than a ping takes.
func takeWatchdog(ctx context.Context, timeout time.Duration) (*watchdog.File, error) {
	dog, err := watchdog.Open(unix.AT_FDCWD, watchdog.Path)
	for try := 0; errors.Is(err, watchdog.ErrTaken) && try < 3; try++ {
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
		dog, err = watchdog.Open(unix.AT_FDCWD, watchdog.Path)
	}
	switch {
	case errors.Is(err, watchdog.ErrTaken):
		return nil, fault.Errorf(fault.Nothing, "nothing to do: somebody else has the watchdog")
	case errors.Is(err, watchdog.ErrNone):
		return nil, fault.Errorf(fault.Refused, "there is no watchdog %s", watchdog.Path)
	case err != nil || timeout == 0:
		return dog, err
	}
	return dog, dog.SetTimeout(timeout)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
