package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/abupdate/abupdate/updater"
)

// meter shows the progress of an operation on stderr: bars on a terminal, JSON
// lines with --json, a plain line now and then otherwise.
type meter struct {
	report updater.Progress
	now    func() time.Time // nil is time.Now
	bars   *mpb.Progress
	tracks map[string]*track // by image; "" when there is only one
}

// A track is the progress of one image.
type track struct {
	bar   *mpb.Bar
	text  atomic.Pointer[string] // what stands beside the bar
	step  updater.Step
	began time.Time
	last  time.Time // of the last line
	pace  pace
}

const (
	// jsonInterval is the least time between two JSON lines of one step.
	jsonInterval = 200 * time.Millisecond
	// plainInterval is that between two plain lines, and how long a step
	// takes before it has one: a log is no place for what is done at once.
	plainInterval = 10 * time.Second
)

func (m *meter) start(a *app) {
	m.tracks = make(map[string]*track)
	if m.now == nil {
		m.now = time.Now
	}
	switch {
	case a.quiet:
	case a.json:
		m.report = func(e updater.Event) { m.jsonLine(a.stderr, e) }
	case isTerminal(a.stderr):
		m.bars = mpb.New(mpb.WithOutput(a.stderr), mpb.WithWidth(20), mpb.WithAutoRefresh())
		m.report = notes(m.bars, m.show)
	default:
		m.report = notes(a.stderr, func(e updater.Event) { m.plainLine(a.stderr, e) })
	}
}

// notes prints what an event has to say, and passes the others on.
func notes(w io.Writer, report updater.Progress) updater.Progress {
	return func(e updater.Event) {
		if e.Note == "" {
			report(e)
		} else {
			fmt.Fprintf(w, "%s\n", e.Note)
		}
	}
}

// follow takes an event and returns its track and what is to be told of it. A
// new step begins the track anew.
func (m *meter) follow(e updater.Event) (t *track, l progressLine, begun bool) {
	now := m.now()
	t = m.tracks[e.Image]
	if t == nil {
		t = &track{}
		m.tracks[e.Image] = t
	}
	if begun = e.Step != t.step; begun {
		t.step, t.began, t.last, t.pace = e.Step, now, time.Time{}, nil
	}
	done, _ := measured(e)
	t.pace = t.pace.add(now, done)
	return t, describe(e, t.pace, now), begun
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (m *meter) jsonLine(w io.Writer, e updater.Event) {
	if e.Note != "" {
		printJSON(w, e)
		return
	}
	t, l, begun := m.follow(e)
	now := m.now()
	if !begun && e.Done != e.Total && now.Sub(t.last) < jsonInterval {
		return
	}
	t.last = now
	printJSON(w, l)
}

func printJSON(w io.Writer, v any) {
	if b, err := json.Marshal(v); err == nil {
		fmt.Fprintf(w, "%s\n", b)
	}
}

func (m *meter) plainLine(w io.Writer, e updater.Event) {
	t, l, _ := m.follow(e)
	now := m.now()
	if now.Sub(t.began) < plainInterval || now.Sub(t.last) < plainInterval || e.Total == 0 && e.Done == 0 {
		return
	}
	t.last = now
	fmt.Fprintf(w, "%s: %s\n", l.name(), l.text())
}

func (m *meter) show(e updater.Event) {
	t, l, begun := m.follow(e)
	if begun {
		t.end()
	}
	if e.Total == 0 && e.Done == 0 {
		return // nothing to measure
	}
	text := l.text()
	t.text.Store(&text)
	if t.bar == nil {
		t.bar = m.bars.AddBar(e.Total,
			mpb.PrependDecorators(decor.Name(l.name(), decor.WC{W: 10, C: decor.DindentRight})),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return *t.text.Load() })))
	}
	t.bar.SetTotal(e.Total, false)
	t.bar.SetCurrent(e.Done)
}

// end leaves the current bar on the screen as it is.
func (t *track) end() {
	if t.bar != nil {
		t.bar.SetTotal(-1, true) // complete at whatever it reached
		t.bar = nil
	}
}

// finish ends the progress and waits until the last bar is drawn: what is
// printed afterwards stands below.
func (m *meter) finish() {
	m.report = nil
	if m.bars != nil {
		for _, t := range m.tracks {
			t.end()
		}
		m.bars.Wait()
		m.bars = nil
	}
}
