package watchdog

import (
	"context"
	"time"
)

// A Guard keeps a watchdog quiet as long as the system shows signs of life.
type Guard struct {
	Device Device
	// Sign looks for a sign of life before each ping. One that never returns is
	// none, and so is an error: from then on the watchdog is left to itself.
	Sign func() error
	// Wait waits, and returns an error when the guard is to end.
	Wait  func(context.Context, time.Duration) error
	Every time.Duration
}

// Run returns why there is no ping any more. The watchdog stays open and runs.
func (g Guard) Run(ctx context.Context) error {
	for {
		if err := g.Sign(); err != nil {
			return err
		}
		if err := g.Device.Ping(); err != nil {
			return err
		}
		if err := g.Wait(ctx, g.Every); err != nil {
			return err
		}
	}
}
