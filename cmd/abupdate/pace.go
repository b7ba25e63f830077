package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/abupdate/abupdate/updater"
)

// paceWindow is how far back the rate looks.
const paceWindow = 15 * time.Second

// A mark says how many bytes were done at a moment.
type mark struct {
	at   time.Time
	done int64
}

// A pace is the last marks of a step, oldest first: one before the window and
// those in it.
type pace []mark

// add returns the pace with one more mark, a tenth of the window or more after
// the last one, and without those that are too old.
func (p pace) add(at time.Time, done int64) pace {
	if n := len(p); n > 0 && (at.Sub(p[n-1].at) < paceWindow/10 || done < p[n-1].done) {
		if done >= p[n-1].done {
			return p
		}
		p = nil // begun anew
	}
	p = append(p, mark{at, done})
	for len(p) > 2 && at.Sub(p[1].at) >= paceWindow {
		p = p[1:]
	}
	return p
}

// rate returns bytes per second at a moment, 0 when it is too early to tell.
func (p pace) rate(at time.Time, done int64) int64 {
	if len(p) == 0 {
		return 0
	}
	span := at.Sub(p[0].at)
	if span < time.Second || done <= p[0].done {
		return 0
	}
	return int64(float64(done-p[0].done) / span.Seconds())
}

// left returns how long the rest takes, and false when nobody knows.
func left(remaining, rate int64) (time.Duration, bool) {
	const never = 1000 * 24 * 3600 // seconds
	if remaining <= 0 || rate <= 0 || remaining/rate > never {
		return 0, false
	}
	return time.Duration(float64(remaining) / float64(rate) * float64(time.Second)).Round(time.Second), true
}

// A progressLine is a line of --json: docs/cli.md describes it.
type progressLine struct {
	updater.Event
	Remaining int64  `json:"remaining,omitempty"`
	Rate      int64  `json:"rate,omitempty"`
	ETA       *int64 `json:"eta_seconds,omitempty"`
}

// measured is what the rate is of, and what is left of it: of a step whose
// bytes come over a line only in part, that part is what takes the time.
func measured(e updater.Event) (done, remaining int64) {
	if e.ToFetch > 0 {
		return e.Fetched, max(e.ToFetch-e.Fetched, 0)
	}
	if e.Total == 0 {
		return e.Done, 0
	}
	return e.Done, max(e.Total-e.Done, 0)
}

// describe adds to an event what follows from it and the marks before.
func describe(e updater.Event, p pace, now time.Time) progressLine {
	done, remaining := measured(e)
	l := progressLine{Event: e, Rate: p.rate(now, done)}
	if e.Total > 0 {
		l.Remaining = max(e.Total-e.Done, 0)
	}
	if d, ok := left(remaining, l.Rate); ok {
		seconds := int64(d / time.Second)
		l.ETA = &seconds
	}
	return l
}

// text is the line for people, without the step's name: what matters most
// comes first, as a narrow terminal cuts the rest off.
func (l progressLine) text() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if l.Total > 0 {
		add("%d %% of %s", l.Done*100/l.Total, bytesText(l.Total))
	} else {
		add("%s", bytesText(l.Done))
	}
	if l.ETA != nil {
		add("%s left", time.Duration(*l.ETA)*time.Second)
	}
	if l.Rate > 0 {
		add("%s/s", bytesText(l.Rate))
	}
	switch {
	case l.ToFetch > 0 && l.ToFetch < l.Total:
		add("%s of %s fetched", bytesText(l.Fetched), bytesText(l.ToFetch))
	case l.Fetched > 0:
		add("%s fetched", bytesText(l.Fetched))
	}
	if l.Copied > 0 {
		add("%s copied", bytesText(l.Copied))
	}
	return strings.Join(parts, ", ")
}

// name is what a line for people begins with.
func (l progressLine) name() string {
	if l.Image == "" {
		return string(l.Step)
	}
	return l.Image + " " + string(l.Step)
}
