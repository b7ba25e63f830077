package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/abupdate/abupdate/updater"
)

// meter shows the progress of an operation on stderr: bars on a terminal, JSON
// lines with --json, nothing otherwise.
type meter struct {
	report updater.Progress
	bars   *mpb.Progress
	tracks map[string]*track // by image; "" when there is only one
}

// A track is the progress of one image.
type track struct {
	bar  *mpb.Bar
	step updater.Step
	last time.Time
}

// lineInterval is the least time between two JSON lines of one step.
const lineInterval = 200 * time.Millisecond

func (m *meter) start(a *app) {
	m.tracks = make(map[string]*track)
	switch {
	case a.quiet:
	case a.json:
		m.report = func(e updater.Event) { m.line(a.stderr, e) }
	case isTerminal(a.stderr):
		m.bars = mpb.New(mpb.WithOutput(a.stderr), mpb.WithWidth(48), mpb.WithAutoRefresh())
		m.report = m.show
	}
}

func (m *meter) track(image string) *track {
	t := m.tracks[image]
	if t == nil {
		t = &track{}
		m.tracks[image] = t
	}
	return t
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (m *meter) line(w io.Writer, e updater.Event) {
	t := m.track(e.Image)
	if e.Step == t.step && e.Done != e.Total && time.Since(t.last) < lineInterval {
		return
	}
	t.step, t.last = e.Step, time.Now()
	if b, err := json.Marshal(e); err == nil {
		fmt.Fprintf(w, "%s\n", b)
	}
}

func (m *meter) show(e updater.Event) {
	if e.Total == 0 && e.Done == 0 {
		return // nothing to measure
	}
	t := m.track(e.Image)
	if t.bar == nil || e.Step != t.step {
		t.end()
		t.step = e.Step
		var name []decor.Decorator
		if e.Image != "" {
			name = append(name, decor.Name(e.Image+" "))
		}
		t.bar = m.bars.AddBar(e.Total,
			mpb.PrependDecorators(append(name, decor.Name(string(e.Step), decor.WC{W: 10, C: decor.DindentRight}))...),
			mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f"), decor.AverageSpeed(decor.SizeB1024(0), " % .1f")))
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
