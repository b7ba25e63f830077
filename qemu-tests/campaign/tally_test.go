package campaign_test

import (
	"fmt"
	"sync"

	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
)

// A tally counts what was tried and how it ended.
type tally struct {
	mu                          sync.Mutex
	states, old, new_, recovery int
	twice                       int // cut again in the boot that followed
	further                     int // taken to the next update
}

func (c *tally) add(o, old, now machine.Outcome) {
	c.states++
	switch {
	case o.End == machine.InRecovery:
		c.recovery++
	case o.RootHash == now.RootHash && now.RootHash != old.RootHash:
		c.new_++
	default:
		c.old++
	}
}

func (c *tally) merge(d *tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states += d.states
	c.old += d.old
	c.new_ += d.new_
	c.recovery += d.recovery
	c.twice += d.twice
	c.further += d.further
}

func (c *tally) String() string {
	return fmt.Sprintf("%d states: %d with the system from before, %d with the one from after, %d in recovery; %d after two cuts, %d taken to the next update",
		c.states, c.old, c.new_, c.recovery, c.twice, c.further)
}
