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
	bar    *mpb.Bar
	step   updater.Step
	last   time.Time
}

// lineInterval is the least time between two JSON lines of one step.
const lineInterval = 200 * time.Millisecond

func (m *meter) start(a *app) {
	switch {
	case a.quiet:
	case a.json:
		m.report = func(e updater.Event) { m.line(a.stderr, e) }
	case isTerminal(a.stderr):
		m.bars = mpb.New(mpb.WithOutput(a.stderr), mpb.WithWidth(48), mpb.WithAutoRefresh())
		m.report = m.show
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (m *meter) line(w io.Writer, e updater.Event) {
	if e.Step == m.step && e.Done != e.Total && time.Since(m.last) < lineInterval {
		return
	}
	m.step, m.last = e.Step, time.Now()
	if b, err := json.Marshal(e); err == nil {
		fmt.Fprintf(w, "%s\n", b)
	}
}

func (m *meter) show(e updater.Event) {
	if e.Total == 0 && e.Done == 0 {
		return // nothing to measure
	}
	if m.bar == nil || e.Step != m.step {
		m.endBar()
		m.step = e.Step
		m.bar = m.bars.AddBar(e.Total,
			mpb.PrependDecorators(decor.Name(string(e.Step), decor.WC{W: 10, C: decor.DindentRight})),
			mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f"), decor.AverageSpeed(decor.SizeB1024(0), " % .1f")))
	}
	m.bar.SetTotal(e.Total, false)
	m.bar.SetCurrent(e.Done)
}

// endBar leaves the current bar on the screen as it is.
func (m *meter) endBar() {
	if m.bar != nil {
		m.bar.SetTotal(-1, true) // complete at whatever it reached
		m.bar = nil
	}
}

// finish ends the progress and waits until the last bar is drawn: what is
// printed afterwards stands below.
func (m *meter) finish() {
	m.report = nil
	if m.bars != nil {
		m.endBar()
		m.bars.Wait()
		m.bars = nil
	}
}
