package demo

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// A timeline prints what happens as it happens. On a terminal the step that is
// under way counts its seconds; elsewhere it is printed when it ends.
type timeline struct {
	out   io.Writer
	tty   bool
	began time.Time

	mu    sync.Mutex
	title string // of the step under way
	start time.Time
	notes []string
	doing string // what a program said last
	shown bool   // the line of the step under way stands on the screen
}

func newTimeline(out io.Writer) *timeline {
	f, ok := out.(*os.File)
	return &timeline{out: out, tty: ok && term.IsTerminal(int(f.Fd())), began: time.Now()}
}

func (t *timeline) printf(format string, args ...any) { fmt.Fprintf(t.out, format, args...) }

// step runs fn under a title. What fn notes is printed below it.
func (t *timeline) step(title string, fn func() error) error {
	t.mu.Lock()
	t.title, t.start, t.notes, t.doing = title, time.Now(), nil, ""
	t.mu.Unlock()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go t.tick(stop, stopped)
	err := fn()
	close(stop)
	<-stopped
	t.finish(err)
	return err
}

func (t *timeline) tick(stop <-chan struct{}, stopped chan<- struct{}) {
	defer close(stopped)
	if !t.tty {
		return
	}
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		t.mu.Lock()
		fmt.Fprintf(t.out, "\r%s\x1b[K", t.live())
		t.shown = true
		t.mu.Unlock()
		select {
		case <-every.C:
		case <-stop:
			return
		}
	}
}

// line is "start  title  duration".
func (t *timeline) line(mark string) string {
	return fmt.Sprintf("%6s  %s %-62s %6s", clock(t.start.Sub(t.began)), mark, t.title, clock(time.Since(t.start)))
}

// live is the line of the step under way with its latest news, cut to the
// terminal's width: a line that wraps cannot be written over.
func (t *timeline) live() string {
	s := t.line("…")
	if n := len(t.notes); t.doing == "" && n > 0 {
		s += "  " + t.notes[n-1]
	}
	if t.doing != "" {
		s += "  " + t.doing
	}
	width := 80
	if f, ok := t.out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			width = w
		}
	}
	r := []rune(s)
	return string(r[:min(len(r), width-1)])
}

func (t *timeline) finish(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	mark := "✓"
	if err != nil {
		mark = "✗"
	}
	if t.shown {
		fmt.Fprint(t.out, "\r")
	}
	fmt.Fprint(t.out, t.line(mark))
	if t.shown {
		fmt.Fprint(t.out, "\x1b[K")
	}
	fmt.Fprintln(t.out)
	for _, n := range t.notes {
		fmt.Fprintf(t.out, "          %s\n", n)
	}
	t.shown = false
}

// note adds a line below the step under way.
func (t *timeline) note(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		t.notes = append(t.notes, strings.TrimRight(line, "\n"))
	}
}

// Write takes what a program prints, to show its last line while it runs.
func (t *timeline) Write(p []byte) (int, error) {
	lines := strings.Split(strings.TrimSpace(plain(string(p))), "\n")
	t.mu.Lock()
	defer t.mu.Unlock()
	if last := strings.TrimPrefix(lines[len(lines)-1], "I: "); last != "" {
		t.doing = last
	}
	return len(p), nil
}

// clock shows a duration as minutes and seconds.
func clock(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	s := int(d.Round(time.Second).Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

var escapes = regexp.MustCompile(`\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>78cM])|\r`)

// plain takes a terminal's control sequences out of a console's text.
func plain(s string) string { return escapes.ReplaceAllString(s, "") }
