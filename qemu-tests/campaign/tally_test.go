package campaign_test

import (
	"fmt"
	"sync"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
)

// A tally counts what was tried and how it ended.
type tally struct {
	writes, syncs               int // of the operation that is cut
	states, old, new_, recovery int
	distinct                    int // disks
	twice                       int // after two cuts
	further                     int // taken to the next update
	violations                  int
	first                       string // violation
}

func (c *tally) add(o, old, now machine.Outcome, fresh bool) {
	c.states++
	if fresh {
		c.distinct++
	}
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
	c.writes += d.writes
	c.syncs += d.syncs
	c.states += d.states
	c.distinct += d.distinct
	c.old += d.old
	c.new_ += d.new_
	c.recovery += d.recovery
	c.twice += d.twice
	c.further += d.further
	c.violations += d.violations
}

func (c *tally) String() string {
	return fmt.Sprintf("%3d writes %3d syncs %7d states, %6d distinct: %7d old %6d new %5d recovery; %7d after two cuts, %4d updated again; %d violations",
		c.writes, c.syncs, c.states, c.distinct, c.old, c.new_, c.recovery, c.twice, c.further, c.violations)
}

// ends is what a person wants to know.
func (c *tally) ends() string {
	return fmt.Sprintf("%d come up with the system from before, %d with the one from after, %d wait in recovery where they did before; "+
		"%d after a second cut; %d took the next update; %d violations",
		c.old, c.new_, c.recovery, c.twice, c.further, c.violations)
}

// A verdict is what a disk comes to, and what is wrong with it before that.
type verdict struct {
	machine.Outcome
	broken error
}

// verdicts go by the sum of what is on the disks: the same disk, come to in
// another way, need not boot again.
type verdicts struct {
	mu    sync.Mutex
	bySum map[sum]verdict
}

type sum struct {
	size    int64
	content uint64
}

func newVerdicts() *verdicts { return &verdicts{bySum: make(map[sum]verdict)} }

// of judges a disk, and says whether it is one that was not there before. All
// disks are images over the same one.
func (k *verdicts) of(dev *blockdevtest.Image) (v verdict, fresh bool) {
	id := sum{dev.Size(), dev.Sum()}
	k.mu.Lock()
	v, ok := k.bySum[id]
	k.mu.Unlock()
	if ok {
		return v, false
	}
	v = verdict{machine.Start(blockdevtest.NewImage(dev)), machine.Promised(dev)}
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok = k.bySum[id]
	log := v.Log
	v.Log = nil // there are many
	k.bySum[id] = v
	v.Log = log
	return v, !ok
}
