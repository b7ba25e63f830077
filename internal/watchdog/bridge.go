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
	Grace   time.Duration // no ping after it
}

// Run returns nil when the watchdog is taken, and after the grace why it is
// not.
func (b Bridge) Run() error {
	why := errNobody
	for end := b.Now() + b.Grace; ; {
		b.Sleep(min(Interval(b.Timeout), end-b.Now()))
		if b.Now() >= end {
			return why
		}
		// What fails now may go well next time: the timer runs on.
		why = b.ping()
		if errors.Is(why, ErrTaken) {
			return nil
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
