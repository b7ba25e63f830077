package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/updater"
)

var noon = time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC)

// after is a moment, in seconds after noon.
func after(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

func TestPace(t *testing.T) {
	type step struct {
		at   float64
		done int64
	}
	const k = 1000
	for _, tt := range []struct {
		name  string
		steps []step
		want  int64 // rate at the last step
	}{
		{"nothing yet", nil, 0},
		{"one mark", []step{{0, 0}}, 0},
		{"too early to tell", []step{{0, 0}, {0.5, 100 * k}}, 0},
		{"even", []step{{0, 0}, {2, 20 * k}, {4, 40 * k}}, 10 * k},
		{"standing still", []step{{0, 0}, {2, 20 * k}, {40, 20 * k}, {60, 20 * k}}, 0},
		{"what was long ago does not count", []step{{0, 0}, {5, 100_000 * k}, {30, 100_010 * k}, {40, 100_020 * k}}, 20 * k / 35}, // from the last mark before the window on
		{"it began anew", []step{{0, 0}, {10, 100 * k}, {12, 0}, {14, 40 * k}}, 20 * k},
	} {
		var p pace
		var last step
		for _, last = range tt.steps {
			p = p.add(after(last.at), last.done)
		}
		if got := p.rate(after(last.at), last.done); got != tt.want {
			t.Errorf("%s: rate is %d; want %d: %v", tt.name, got, tt.want, p)
		}
	}
}

// However often something is told, few marks are kept.
func TestPaceIsBounded(t *testing.T) {
	var p pace
	for i := range 100_000 {
		p = p.add(after(float64(i)/100), int64(i)*100)
	}
	if len(p) > 15 {
		t.Errorf("%d marks are kept", len(p))
	}
	if got := p.rate(after(1000), 10_000_000); got < 9_990 || got > 10_010 {
		t.Errorf("rate is %d; want 10000", got)
	}
}

func TestLeft(t *testing.T) {
	for _, tt := range []struct {
		remaining, rate int64
		want            time.Duration
		known           bool
	}{
		{0, 100, 0, false},
		{100, 0, 0, false},
		{-5, 100, 0, false},
		{1 << 60, 1, 0, false}, // longer than a Duration holds
		{1000, 100, 10 * time.Second, true},
		{1049, 100, 10 * time.Second, true},
	} {
		if got, known := left(tt.remaining, tt.rate); got != tt.want || known != tt.known {
			t.Errorf("left(%d, %d) = %v, %v; want %v, %v", tt.remaining, tt.rate, got, known, tt.want, tt.known)
		}
	}
}

func TestProgressText(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name string
		e    updater.Event
		want string // after 10 s
	}{
		{"a total", updater.Event{Done: 10 * mib, Total: 30 * mib}, "33 % of 30.0 MiB, 20s left, 1.0 MiB/s"},
		{"no total", updater.Event{Done: 10 * mib}, "10.0 MiB, 1.0 MiB/s"},
		{"at the end", updater.Event{Done: 10 * mib, Total: 10 * mib}, "100 % of 10.0 MiB, 1.0 MiB/s"},
		{"copied and fetched", updater.Event{Done: 200 * mib, Total: 300 * mib, Copied: 190 * mib, Fetched: 10 * mib, ToFetch: 80 * mib},
			"66 % of 300.0 MiB, 1m10s left, 1.0 MiB/s, 10.0 MiB of 80.0 MiB fetched, 190.0 MiB copied"},
		{"fetched, nobody knows how much comes", updater.Event{Done: 10 * mib, Total: 20 * mib, Fetched: 10 * mib},
			"50 % of 20.0 MiB, 10s left, 1.0 MiB/s, 10.0 MiB fetched"},
	} {
		if got := describe(tt.e, pace{{noon, 0}}, after(10)).text(); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// metered returns what a meter prints of events a second apart each.
func metered(a *app, events []updater.Event) string {
	var out bytes.Buffer
	a.stderr = &out
	clock := noon
	a.progress.now = func() time.Time { return clock }
	a.progress.start(a)
	for _, e := range events {
		if a.progress.report != nil {
			a.progress.report(e)
		}
		clock = clock.Add(time.Second)
	}
	a.progress.finish()
	return out.String()
}

func TestPlainProgress(t *testing.T) {
	var events []updater.Event
	for i := range 25 {
		events = append(events, updater.Event{Step: updater.StepWrite, Done: int64(i) << 10, Total: 100 << 10})
	}
	events = append(events, updater.Event{Step: updater.StepWrite, Note: "the server has no ranges"})
	for i := range 5 { // done at once
		events = append(events, updater.Event{Step: updater.StepReadBack, Done: int64(i), Total: 5})
	}
	want := lines(
		"write: 10 % of 100.0 KiB, 1m30s left, 1.0 KiB/s",
		"write: 20 % of 100.0 KiB, 1m20s left, 1.0 KiB/s",
		"the server has no ranges")
	want = strings.ReplaceAll(strings.TrimPrefix(want, "  "), "\n  ", "\n") + "\n"
	if diff := cmp.Diff(want, metered(&app{}, events)); diff != "" {
		t.Errorf("plain lines (-want +got):\n%s", diff)
	}
	if got := metered(&app{quiet: true}, events); got != "" {
		t.Errorf("with -q: %q; want nothing", got)
	}
}

func TestJSONProgress(t *testing.T) {
	out := metered(&app{json: true}, []updater.Event{
		{Step: updater.StepResolve},
		{Step: updater.StepWrite, Total: 400},
		{Step: updater.StepWrite, Done: 100, Total: 400, Copied: 80, Fetched: 20, ToFetch: 100},
		{Step: updater.StepWrite, Done: 200, Total: 400, Copied: 160, Fetched: 40, ToFetch: 100},
		{Step: updater.StepWrite, Note: "a note"},
	})
	var last map[string]any
	var got []map[string]any
	for line := range strings.Lines(out) {
		last = object(t, line, "step")
		got = append(got, last)
	}
	if len(got) != 5 || got[4]["note"] != "a note" {
		t.Fatalf("%d lines; want 5 and the note last:\n%s", len(got), out)
	}
	var want map[string]any
	err := json.Unmarshal([]byte(`{"step":"write","done":200,"total":400,"copied":160,"fetched":40,"to_fetch":100,"remaining":200,"rate":20,"eta_seconds":3}`), &want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got[3]); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}
