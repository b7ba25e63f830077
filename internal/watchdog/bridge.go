package watchdog

import (
	"errors"
	"time"
)

// A Bridge keeps a watchdog quiet until its next owner takes it, for a bounded
// time. It has no word with that owner, who may be anything that opens the device
// once and gives up when it is busy: so it opens the watchdog for each ping and
// closes it at once, and takes a device that is busy for one that is taken.
type Bridge struct {
	Open    func() (Device, error)
	Now     func() time.Duration // since some fixed moment
	Sleep   func(time.Duration)
	Timeout time.Duration // of the watchdog, which was pinged just now
	Grace   time.Duration // the last ping is at its end
}

// Run returns nil when the watchdog is taken, and at the end of the grace why it
// is not.
func (b Bridge) Run() error {
	for end := b.Now() + b.Grace; ; {
		b.Sleep(min(Interval(b.Timeout), end-b.Now()))
		err := b.ping()
		if errors.Is(err, ErrTaken) {
			return nil
		}
		// What fails now may go well next time: the timer runs on.
		if b.Now() >= end {
			return err
		}
	}
}

var errNobody = errors.New("nobody opened it")

func (b Bridge) ping() error {
	dev, err := b.Open()
	if err != nil {
		return err
	}
	if err := errors.Join(dev.Ping(), dev.Close()); err != nil {
		return err
	}
	return errNobody
}
