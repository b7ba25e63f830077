package main

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
)

// The program starts itself in other modes, so the test program has them too.
func TestMain(m *testing.M) {
	if found, err := mode(os.Args[1:]); found {
		exit(err)
	}
	os.Exit(m.Run())
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 2, 1, 3}, 2.5},
	} {
		given := fmt.Sprint(tt.values)
		if got := median(tt.values); got != tt.want {
			t.Errorf("median(%v) = %v; want %v", tt.values, got, tt.want)
		}
		if fmt.Sprint(tt.values) != given {
			t.Errorf("median changed %s to %v", given, tt.values)
		}
	}
}

// The machine was slow in the second round, for both.
var disturbed = []pair{
	{usage{CPU: 1, RSS: 50e6}, usage{CPU: 2}},
	{usage{CPU: 6}, usage{CPU: 10}},
	{usage{CPU: 2}, usage{CPU: 3}},
}

func TestSum(t *testing.T) {
	got := row{value: cpu}.sum(disturbed)
	if got.ours != 2 || got.theirs != 3 || got.ratio != 0.6 || got.runs != 3 {
		t.Errorf("sum = %v, %v, ratio %v of %d runs; want 2, 3, 0.6 of 3", got.ours, got.theirs, got.ratio, got.runs)
	}
	if got := (row{value: rss}).sum(disturbed[:1]); got.ratio != 0 || got.ours != 50e6 {
		t.Errorf("sum without a figure of the peer = %v, ratio %v; want 50e6, 0", got.ours, got.ratio)
	}
}

func TestBar(t *testing.T) {
	atLeast := bar{limit: 3, atLeast: true}
	tests := []struct {
		bar         bar
		ours, ratio float64
		unit        unit
		want        bool
		text        string
	}{
		{times(0.5), 9, 0.5, seconds, true, "at most 0.50x"},
		{times(0.5), 9, 0.501, seconds, false, "at most 0.50x"},
		{atMost(64), 64e6, 9, megabytes, true, "at most 64 MB"},
		{atMost(64), 64e6 + 1, 0.1, megabytes, false, "at most 64 MB"},
		{atMost(0), 0, 0, megabytes, true, "at most 0 MB"},
		{atMost(0), 4096, 0, megabytes, false, "at most 0 MB"},
		{atLeast, 1, 3, seconds, true, "at least 3.00x"},
		{atLeast, 1, 2.9, seconds, false, "at least 3.00x"},
	}
	for _, tt := range tests {
		if got := tt.bar.met(tt.ours, tt.ratio, tt.unit); got != tt.want {
			t.Errorf("%+v.met(%v, %v) = %v; want %v", tt.bar, tt.ours, tt.ratio, got, tt.want)
		}
		if got := tt.bar.format(tt.unit); got != tt.text {
			t.Errorf("%+v.format = %q; want %q", tt.bar, got, tt.text)
		}
	}
	if got := (bar{}).format(seconds); got != "-" {
		t.Errorf("format of no bar = %q; want -", got)
	}
}

func TestPrint(t *testing.T) {
	r := row{what: "making it", peer: "tools", unit: seconds, bar: times(0.5)}
	results := []result{
		{row: r, ours: 1.234, theirs: 2.5, ratio: 0.49},
		{row: r, ours: 2, theirs: 2.5, ratio: 0.8},
		{row: row{what: "size", peer: "tools", unit: megabytes}, ours: 274.46e6, theirs: 0},
		{row: r, err: fmt.Errorf("reading: %w", errNeedsRoot)},
		{row: r, err: errors.New("exit status 1")},
	}
	var out strings.Builder
	if err := printTable(&out, "Times", results); err != nil {
		t.Fatal(err)
	}
	want := `
Times
what       peer   peer's figure  ours      ratio  bar            met
making it  tools  2.50 s         1.23 s    0.49x  at most 0.50x  met
making it  tools  2.50 s         2.00 s    0.80x  at most 0.50x  not met
size       tools  0.0 MB         274.5 MB  -      -              -
making it  tools  -              -         -      at most 0.50x  needs root
making it  tools  -              -         -      at most 0.50x  failed
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("table differs (-want +got):\n%s", d)
	}
}

func TestPage(t *testing.T) {
	b := &bench{fixture: &fixture{Suite: "Debian", Packages: 3, Entries: 20, Bytes: 5e6, Layer: 2e6}, breakdown: []step{{"umoci", usage{CPU: 7}}}}
	b.commands.add("abupdate build")
	b.commands.add("abupdate build")
	var out strings.Builder
	writePage(&out, b, []section{{"Times", []result{{row: row{what: "making it", unit: seconds}, ours: 1, theirs: 4, ratio: 0.25}}}},
		time.Date(2025, 2, 3, 4, 5, 6, 0, time.UTC))
	page := out.String()
	for _, want := range []string{
		"the run of 2025-02-03", "3 packages, 20 entries, a tar of 5 MB in one gzip layer of 2 MB", "\n## Times\n",
		"\n| what | peer | peer's figure | ours | ratio | bar | met |\n|---|---|---|---|---|---|---|\n| making it |  | 4.00 s | 1.00 s | 0.25x | - | - |\n",
		"\n| umoci | 7.00 s |", "```\nabupdate build\n```\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
	if name, err := os.Hostname(); err != nil || strings.Contains(page, " "+name+" ") {
		t.Errorf("the page names this machine: %s, %v", name, err)
	}
}

func TestChoose(t *testing.T) {
	names := map[string]bool{}
	for _, table := range tables() {
		for _, r := range table.rows {
			if names[r.name] || r.name == "" || r.from == nil || r.value == nil {
				t.Errorf("row %q is not whole, or not the only one", r.name)
			}
			names[r.name] = true
		}
	}
	chosen, err := choose(tables(), "tree,read-find,cpu")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, table := range chosen {
		for _, r := range table.rows {
			got = append(got, r.name)
		}
	}
	if d := cmp.Diff([]string{"cpu", "tree", "read-find"}, got); d != "" {
		t.Errorf("chosen rows differ (-want +got):\n%s", d)
	}
	if _, err := choose(tables(), "tree,no"); err == nil || !strings.Contains(err.Error(), `"no"`) {
		t.Errorf("choose() of an unknown row = %v; want its name", err)
	}
}

func TestAlternate(t *testing.T) {
	var order []string
	side := func(name string) run {
		return func(ctx context.Context, round int) (usage, error) {
			order = append(order, fmt.Sprint(name, round))
			return usage{CPU: float64(round + 1)}, nil
		}
	}
	b := &bench{log: io.Discard}
	pairs, err := b.alternate(t.Context(), 3, side("a"), side("b"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a0", "b0", "b1", "a1", "a2", "b2"}, order); d != "" {
		t.Errorf("order differs (-want +got):\n%s", d)
	}
	if len(pairs) != 3 || pairs[1].ours.CPU != 2 || pairs[2].peer.CPU != 3 {
		t.Errorf("pairs = %+v; want the usage of each round", pairs)
	}
	b.rounds = 1
	broken := errors.New("broken")
	_, err = b.alternate(t.Context(), 3, side("a"), func(context.Context, int) (usage, error) { return usage{}, broken })
	if !errors.Is(err, broken) {
		t.Errorf("alternate() = %v; want what failed", err)
	}
}

// An experiment that several rows look at runs once, also when it fails.
func TestPairsRunOnce(t *testing.T) {
	runs := 0
	broken := errors.New("broken")
	e := &experiment{"x", func(context.Context, *bench) ([]pair, error) { runs++; return disturbed, broken }}
	b := &bench{log: io.Discard, done: map[*experiment]outcome{}}
	for range 2 {
		if r := b.result(t.Context(), row{value: cpu, from: e}); !errors.Is(r.err, broken) {
			t.Errorf("result.err = %v; want %v", r.err, broken)
		}
	}
	if runs != 1 {
		t.Errorf("the experiment ran %d times; want 1", runs)
	}
}

// A long run that is interrupted keeps what it has; a row that fails does not
// keep the next from being measured.
func TestSections(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	of := func(name string, err error, then func()) row {
		return row{name: name, value: cpu, from: &experiment{name, func(context.Context, *bench) ([]pair, error) { then(); return disturbed, err }}}
	}
	rows := []row{of("a", errNeedsRoot, func() {}), of("b", errors.New("broken"), func() {}), of("c", nil, func() {}), of("d", nil, cancel), of("e", nil, func() {})}
	b := &bench{log: io.Discard, done: map[*experiment]outcome{}}
	sections, err := b.sections(ctx, []table{{"first", rows[:2]}, {"second", rows[2:]}})
	if err == nil || err.Error() != "row b: broken" {
		t.Errorf("sections() = %v; want that of row b alone", err)
	}
	var got []string
	for _, s := range sections {
		for _, r := range s.results {
			got = append(got, s.title+" "+r.name)
		}
	}
	if d := cmp.Diff([]string{"first a", "first b", "second c"}, got); d != "" {
		t.Errorf("measured rows differ (-want +got):\n%s", d)
	}
}

// Two at a time would measure each other, and one must not remove what the
// other works with.
func TestOpenLocks(t *testing.T) {
	f := testFixture(t)
	f.Key = key()
	if err := writeJSON(filepath.Join(f.dir, "root.json"), f); err != nil {
		t.Fatal(err)
	}
	o := options{cache: f.dir, abupdate: f.tar()}
	left := filepath.Join(f.dir, "work-1")
	if err := os.MkdirAll(filepath.Join(left, "mnt"), 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := open(t.Context(), o, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("what a killed run left is still there")
	}
	if _, err := open(t.Context(), o, io.Discard); err == nil {
		t.Error("a second bench began beside the first")
	}
	b.close()
	if _, err := os.Stat(b.work); err == nil {
		t.Error("the folder of a run is still there")
	}
	b, err = open(t.Context(), o, io.Discard)
	if err != nil {
		t.Fatalf("open() after the first was closed: %v", err)
	}
	b.close()
}

func TestFlags(t *testing.T) {
	var out strings.Builder
	if err := runBench(t.Context(), []string{"-list"}, &out, io.Discard); err != nil || !strings.Contains(out.String(), "rss-large\t") {
		t.Errorf("-list printed %q, %v", out.String(), err)
	}
	for _, args := range [][]string{{"-rows", "no"}, {"more"}, {"-what"}, {"-abupdate", "/none/such"}} {
		if err := runBench(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("bench %v gave no error", args)
		}
	}
}
