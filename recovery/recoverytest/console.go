package recoverytest

import (
	"bytes"
	"time"

	"github.com/abupdate/abupdate/recovery"
)

var _ recovery.Console = (*Console)(nil)

// A Console is a person's screen and script: Keys are typed as fast as they
// are asked for.
type Console struct {
	bytes.Buffer        // what was printed
	Keys         string // what is still to be typed
	NoInput      bool   // nothing can be typed
	// Waited is the time that was waited for keys that did not come. When it
	// reaches Patience (0: an hour) ReadKey panics: nothing may wait for ever
	// unseen.
	Waited, Patience time.Duration
	// Clock, if not nil, is told of waiting.
	Clock func(time.Duration)
}

// Gone is what ReadKey panics with when nobody types for too long.
const Gone = "recoverytest: nobody is there"

// Interactive implements recovery.Console.
func (c *Console) Interactive() bool { return !c.NoInput }

// ReadKey implements recovery.Console.
func (c *Console) ReadKey(d time.Duration) (byte, bool) {
	if c.Keys != "" {
		key := c.Keys[0]
		c.Keys = c.Keys[1:]
		return key, true
	}
	c.Waited += d
	if c.Clock != nil {
		c.Clock(d)
	}
	patience := c.Patience
	if patience == 0 {
		patience = time.Hour
	}
	if c.Waited >= patience {
		panic(Gone)
	}
	return 0, false
}
