package health_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/updater/health"
)

// runner runs checks by name.
type runner map[string]func(ctx context.Context, out io.Writer) error

func (r runner) Run(ctx context.Context, c health.Check, _ []string, out io.Writer) error {
	return r[c.Name](ctx, out)
}

func passes(context.Context, io.Writer) error { return nil }

func fails(_ context.Context, out io.Writer) error {
	fmt.Fprint(out, "looking\nno route to host\n\n")
	return errors.New("exit status 1")
}

func hangs(ctx context.Context, out io.Writer) error {
	fmt.Fprintln(out, "waiting")
	<-ctx.Done()
	return errors.New("signal: terminated")
}

func chatters(_ context.Context, out io.Writer) error {
	for i := range 10_000 {
		fmt.Fprintf(out, "line %d\n", i)
	}
	return nil
}

func hostile(_ context.Context, out io.Writer) error {
	fmt.Fprint(out, "\x1b[2Jä\xff"+strings.Repeat("x", 1000))
	return errors.New("exit status 1")
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	clock := time.Unix(0, 0)
	var told []string
	results, err := health.Run(t.Context(), []health.Check{
		{Name: "good", Required: true, Timeout: time.Hour},
		{Name: "bad", Required: true, Timeout: time.Hour},
		{Name: "late", Timeout: time.Nanosecond},
		{Name: "loud", Timeout: time.Hour},
		{Name: "hostile", Timeout: time.Hour},
		{Name: "broken", Required: true, Problem: "it is not an executable file"},
	}, health.RunOptions{
		Runner: runner{"good": passes, "bad": fails, "late": hangs, "loud": chatters, "hostile": hostile},
		Dir:    dir, Tell: func(r health.Result) { told = append(told, r.Name) },
		Now: func() time.Time { clock = clock.Add(time.Second); return clock },
	})
	if err != nil {
		t.Fatal(err)
	}
	log := func(name string) string { return filepath.Join(dir, name+".log") }
	want := []health.Result{
		{Name: "good", Required: true, Passed: true, Seconds: 1},
		{Name: "bad", Required: true, Reason: "exit status 1: no route to host", Seconds: 1, Output: log("bad")},
		{Name: "late", Reason: "timed out after 1ns: waiting", Seconds: 1, Output: log("late")},
		{Name: "loud", Passed: true, Seconds: 1, Output: log("loud")},
		{Name: "hostile", Reason: "exit status 1: ?[2Jä?" + strings.Repeat("x", 194), Seconds: 1, Output: log("hostile")},
		{Name: "broken", Required: true, Reason: "it is not an executable file"},
	}
	if diff := cmp.Diff(want, results); diff != "" {
		t.Errorf("Run() (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"good", "bad", "late", "loud", "hostile", "broken"}, told); diff != "" {
		t.Errorf("told of (-want +got):\n%s", diff)
	}
	if failed := health.Failed(results); failed == nil || failed.Name != "bad" {
		t.Errorf("Failed() = %+v; want bad", failed)
	}
	b, err := os.ReadFile(log("loud"))
	if text := string(b); err != nil || len(b) > 17<<10 || !strings.HasPrefix(text, "[...]\n") || !strings.HasSuffix(text, "\nline 9999\n") {
		t.Errorf("output kept is %d bytes, %v; want the end of it", len(b), err)
	}
}

func TestFailed(t *testing.T) {
	for _, tt := range []struct {
		results []health.Result
		want    string
	}{
		{nil, ""},
		{[]health.Result{{Name: "a", Required: true, Passed: true}, {Name: "b"}}, ""},
		{[]health.Result{{Name: "a"}, {Name: "b", Required: true}, {Name: "c", Required: true}}, "b"},
	} {
		got := ""
		if f := health.Failed(tt.results); f != nil {
			got = f.Name
		}
		if got != tt.want {
			t.Errorf("Failed(%+v) = %q; want %q", tt.results, got, tt.want)
		}
	}
}

// A check that ends because this process is told to end has not failed.
func TestRunCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	results, err := health.Run(ctx, []health.Check{{Name: "good", Timeout: time.Hour}, {Name: "bad", Timeout: time.Hour}, {Name: "never"}}, health.RunOptions{
		Runner: runner{"good": passes, "bad": func(ctx context.Context, out io.Writer) error { cancel(); return fails(ctx, out) }},
	})
	if !errors.Is(err, context.Canceled) || len(results) != 1 || results[0].Name != "good" {
		t.Errorf("Run() = %+v, %v; want the first result and that it was canceled", results, err)
	}
}

// script is a check that is a shell script.
func script(t *testing.T, text string) health.Check {
	t.Helper()
	path := filepath.Join(t.TempDir(), "check")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return health.Check{Name: "check", Argv: []string{path}, Timeout: time.Hour}
}

func TestExec(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		says, out  string
	}{
		{"passes", "echo fine", "", "fine\n"},
		{"fails", "echo no route >&2; exit 3", "exit status 3", "no route\n"},
		{"is told what runs", "echo $ABUPDATE_SLOT; pwd", "", "b\n/\n"},
		{"reads nothing", "cat", "", ""},
		{"kills itself", "kill -9 $$", "signal: killed", ""},
	} {
		var out strings.Builder
		err := health.Exec{}.Run(t.Context(), script(t, tt.text), []string{"ABUPDATE_SLOT=b"}, &out)
		if (err == nil) != (tt.says == "") || err != nil && err.Error() != tt.says || out.String() != tt.out {
			t.Errorf("%s: Run() = %v, output %q; want %q, %q", tt.name, err, out.String(), tt.says, tt.out)
		}
	}
	if err := (health.Exec{}).Run(t.Context(), health.Check{Argv: []string{"/nonexistent/check"}}, nil, io.Discard); err == nil {
		t.Error("a check that is not there passes")
	}
}

// started calls a function at the first write.
type started func()

func (s started) Write(p []byte) (int, error) { s(); return len(p), nil }

// A check ends with all that it started, and may clean up before.
func TestExecEndsTheGroup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	mark := filepath.Join(t.TempDir(), "cleaned")
	c := script(t, "trap 'touch "+mark+"; kill $child; exit 1' TERM\nsleep 100000 &\nchild=$!\necho started\nwait\n")
	if err := (health.Exec{}).Run(ctx, c, nil, started(cancel)); err == nil {
		t.Error("a check that was stopped passes")
	}
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("the check did not get to clean up: %v", err)
	}
}
