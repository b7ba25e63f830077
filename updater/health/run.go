package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ResultsDir is where the output of the last run of every check is kept.
const ResultsDir = "/run/abupdate/health"

// A Result is what became of a check.
type Result struct {
	Name     string  `json:"name"`
	Required bool    `json:"required"`
	Passed   bool    `json:"passed"`
	Reason   string  `json:"reason,omitempty"` // why it did not pass
	Seconds  float64 `json:"seconds"`
	Output   string  `json:"output,omitempty"` // the file with the end of what it printed
}

// A Runner runs one check: its error says why it did not pass. When the
// context ends, so do the check and what it started.
type Runner interface {
	Run(ctx context.Context, c Check, env []string, out io.Writer) error
}

// RunOptions say how checks are run.
type RunOptions struct {
	Runner Runner
	Dir    string           // for their output; "" keeps none
	Env    []string         // added to this process's
	Now    func() time.Time // nil is time.Now
	Tell   func(Result)     // called after each; may be nil
}

// Run runs the checks, one after the other. All are run: an operator wants to
// know of all that is wrong. The error is the context's; then nothing is known
// of the checks that are missing.
func Run(ctx context.Context, checks []Check, opt RunOptions) ([]Result, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	var results []Result
	for _, c := range checks {
		r := run(ctx, c, opt)
		// A check that is stopped together with this process has not failed.
		if err := context.Cause(ctx); err != nil {
			return results, err
		}
		results = append(results, r)
		if opt.Tell != nil {
			opt.Tell(r)
		}
	}
	return results, nil
}

func run(ctx context.Context, c Check, opt RunOptions) Result {
	r := Result{Name: c.Name, Required: c.Required, Reason: c.Problem}
	if c.Problem != "" {
		return r
	}
	began := opt.Now()
	out := &tail{max: maxOutput}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	err := opt.Runner.Run(ctx, c, opt.Env, out)
	late := ctx.Err() != nil
	cancel()
	r.Seconds = opt.Now().Sub(began).Seconds()
	switch {
	case err == nil:
		r.Passed = true
	case late:
		r.Reason = fmt.Sprintf("timed out after %v", c.Timeout)
	default:
		r.Reason = err.Error()
	}
	if line := out.lastLine(); !r.Passed && line != "" {
		r.Reason += ": " + line
	}
	if opt.Dir != "" {
		r.Output = out.keep(opt.Dir, c.Name)
	}
	return r
}

// Failed returns the first required check that did not pass, or nil.
func Failed(results []Result) *Result {
	for i, r := range results {
		if r.Required && !r.Passed {
			return &results[i]
		}
	}
	return nil
}

// maxOutput is how much is kept of what a check prints: the end.
const maxOutput = 16 << 10

// A tail keeps the last bytes that are written to it.
type tail struct {
	max int
	buf []byte
	cut bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - t.max; n > 0 {
		t.buf, t.cut = append(t.buf[:0], t.buf[n:]...), true
	}
	return len(p), nil
}

// maxLine is how long the line may be that goes into a reason, in letters.
const maxLine = 200

// lastLine is the last line that says something, without what would do
// something to a terminal.
func (t *tail) lastLine() string {
	lines := bytes.Split(bytes.TrimSpace(t.buf), []byte("\n"))
	line := []rune(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, string(bytes.TrimSpace(lines[len(lines)-1]))))
	return string(line[:min(len(line), maxLine)])
}

// keep writes the output to a file and returns its path. That it cannot be
// kept is no reason to fail a check.
func (t *tail) keep(dir, name string) string {
	if len(t.buf) == 0 {
		return ""
	}
	text := t.buf
	if t.cut {
		text = append([]byte("[...]\n"), text...)
	}
	path := filepath.Join(dir, name+".log")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(path, text, 0o644)); err != nil {
		return ""
	}
	return path
}
