package wire

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Bounds of patience.
const (
	maxFailures = 4                      // in a row, without RetryFor
	firstPause  = 200 * time.Millisecond // doubled with each failure
	maxPause    = time.Minute
	maxAfter    = 30 * time.Second // of Retry-After, without RetryFor
)

// A Tries counts how often in a row something went wrong. It belongs to one
// transfer, not to several goroutines at once.
type Tries struct {
	c        *Client
	failures int
	since    time.Time // of the first failure in a row

	from answered // what came last
	lied []int    // endpoints that gave something wrong
}

// Tries begins to count.
func (c *Client) Tries() *Tries { return &Tries{c: c} }

// Progress says that the transfer got further.
func (t *Tries) Progress() { t.failures = 0 }

// Again takes note of a failure and waits until it is time for another try. It
// returns false when there is to be none: patience is at its end, or the
// context.
func (t *Tries) Again(ctx context.Context, cause error) bool { return t.again(ctx, cause, 0) }

// again waits no shorter than the server asked for, if patience lasts.
func (t *Tries) again(ctx context.Context, cause error, after time.Duration) bool {
	now := t.c.opt.Now()
	if t.failures++; t.failures == 1 {
		t.since = now
	}
	d := pause(t.failures)
	if limit := t.c.opt.RetryFor; limit > 0 {
		left := limit - now.Sub(t.since)
		if left <= 0 {
			return false
		}
		d = min(max(d, after), left)
	} else {
		if t.failures > maxFailures {
			return false
		}
		d = max(d, min(after, maxAfter))
	}
	if tell, ok := ctx.Value(noticeKey{}).(func(error, time.Duration)); ok && d >= noticeable && ctx.Err() == nil {
		tell(cause, d)
	}
	return t.c.opt.Sleep(ctx, d) == nil
}

// Distrust says that what came last was not what it should be, and why. Whoever
// gave it, a mirror or the original, is asked no more. It returns false when
// there is nobody else to ask.
func (t *Tries) Distrust(ctx context.Context, cause error) bool {
	if t.from.chain == nil || ctx.Err() != nil {
		return false
	}
	news, left := t.from.distrust(t.from.i)
	if left == 0 || slices.Contains(t.lied, t.from.i) { // the original, as nobody else has it
		return false
	}
	t.lied = append(t.lied, t.from.i)
	if tell, ok := ctx.Value(noticeKey{}).(func(error, time.Duration)); ok && news {
		tell(fmt.Errorf("%s gives wrong bytes, and is not asked any more: %w", t.from.host, cause), 0)
	}
	return true
}

// noticeable is how long a wait must be for people to be told of it.
const noticeable = 3 * time.Second

type noticeKey struct{}

// WithNotice has tell called before each longer wait, with what went wrong and
// how long it will be, and with no wait when somebody else is asked from now
// on; from several goroutines when there are several transfers.
func WithNotice(ctx context.Context, tell func(cause error, wait time.Duration)) context.Context {
	return context.WithValue(ctx, noticeKey{}, tell)
}

// pause is how long to wait after n failures: twice as long each time, and a
// quarter more or less, so that many devices that failed together do not come
// back together.
func pause(n int) time.Duration {
	d := maxPause
	if n < 10 {
		d = min(d, firstPause<<(n-1))
	}
	return d*3/4 + rand.N(d/2)
}

type triesKey struct{}

// WithTries lets requests under ctx share one count with the transfer that they
// belong to.
func WithTries(ctx context.Context, t *Tries) context.Context {
	return context.WithValue(ctx, triesKey{}, t)
}

func triesOf(ctx context.Context) *Tries {
	t, _ := ctx.Value(triesKey{}).(*Tries)
	return t
}
