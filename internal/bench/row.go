package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
)

// A pair is one run of ours and one of the peer, right after each other.
type pair struct{ ours, peer usage }

// An experiment gives the pairs that one or more rows look at.
type experiment struct {
	name string
	run  func(ctx context.Context, b *bench) ([]pair, error)
}

// A unit is what a row's figures are in.
type unit struct {
	name string
	of   float64 // how many bytes or seconds
	prec int     // digits behind the point
}

var (
	seconds   = unit{"s", 1, 2}
	megabytes = unit{"MB", 1e6, 1}
)

func (u unit) format(v float64) string { return fmt.Sprintf("%.*f %s", u.prec, v/u.of, u.name) }

// A bar is what a figure of ours is held against; the zero value is none: the
// row is only shown.
type bar struct {
	limit    float64
	absolute bool // limit is of ours, in the row's unit; else it is of the ratio ours/peer
	atLeast  bool // more is better
}

func times(limit float64) bar  { return bar{limit: limit} }
func atMost(limit float64) bar { return bar{limit: limit, absolute: true} }

func (b bar) set() bool { return b != bar{} }

// met compares with the exact figure, not with the rounded one that is shown.
func (b bar) met(ours, ratio float64, u unit) bool {
	v := ratio
	if b.absolute {
		v = ours / u.of
	}
	if b.atLeast {
		return v >= b.limit
	}
	return v <= b.limit
}

func (b bar) format(u unit) string {
	if !b.set() {
		return "-"
	}
	side := "at most"
	if b.atLeast {
		side = "at least"
	}
	if b.absolute {
		return fmt.Sprintf("%s %g %s", side, b.limit, u.name)
	}
	return fmt.Sprintf("%s %.2fx", side, b.limit)
}

// A row is one line of a table.
type row struct {
	name  string // for -rows
	what  string
	peer  string
	from  *experiment
	value func(usage) float64
	unit  unit
	bar   bar
}

// What rows look at.
func cpu(u usage) float64  { return u.CPU }
func wall(u usage) float64 { return u.Wall }
func rss(u usage) float64  { return float64(u.RSS) }
func disk(u usage) float64 { return float64(u.Disk) }
func size(u usage) float64 { return float64(u.Size) }

// A table is rows that belong together.
type table struct {
	title string
	rows  []row
}

// A result is a row with its figures.
type result struct {
	row
	ours, theirs, ratio float64
	runs                int
	err                 error
}

func (r result) met() bool { return r.bar.met(r.ours, r.ratio, r.unit) }

// sum makes a result of the pairs: medians, and the median of the ratios of
// each pair, as what disturbs the machine disturbs both of a pair.
func (r row) sum(pairs []pair) result {
	var ours, peer, ratio []float64
	for _, p := range pairs {
		o, q := r.value(p.ours), r.value(p.peer)
		ours, peer = append(ours, o), append(peer, q)
		if q > 0 {
			ratio = append(ratio, o/q)
		}
	}
	return result{row: r, ours: median(ours), theirs: median(peer), ratio: median(ratio), runs: len(pairs)}
}

// median is 0 for no values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// A bench runs experiments, each once.
type bench struct {
	*fixture
	work     string // folder of its own, on the disk of the fixture
	abupdate string
	rounds   int // 0 is as many as each experiment wants
	log      io.Writer
	lock     *os.File
	load     string // of the machine before the first run
	done     map[*experiment]outcome
	kept     made

	// For the page.
	commands  lines
	breakdown []step
	big       *big
	dracut    *dracut
	boots     []boots
}

type outcome struct {
	pairs []pair
	err   error
}

// pairs runs an experiment, or returns what it gave.
func (b *bench) pairs(ctx context.Context, e *experiment) ([]pair, error) {
	o, ok := b.done[e]
	if !ok {
		fmt.Fprintf(b.log, "%s\n", e.name)
		o.pairs, o.err = e.run(ctx, b)
		if o.err != nil {
			fmt.Fprintf(b.log, "%s: %v\n", e.name, o.err)
		}
		b.done[e] = o
	}
	return o.pairs, o.err
}

// result runs what a row needs.
func (b *bench) result(ctx context.Context, r row) result {
	pairs, err := b.pairs(ctx, r.from)
	res := r.sum(pairs)
	res.err = err
	return res
}

// A run measures one side of a pair.
type run func(ctx context.Context, round int) (usage, error)

// alternate runs both sides n times, or as often as the bench was told; who
// comes first changes each time.
func (b *bench) alternate(ctx context.Context, n int, ours, peer run) ([]pair, error) {
	if b.rounds > 0 {
		n = b.rounds
	}
	var pairs []pair
	for i := range n {
		var p pair
		sides := []struct {
			name string
			run  run
			u    *usage
		}{{"ours", ours, &p.ours}, {"peer", peer, &p.peer}}
		if i%2 == 1 {
			slices.Reverse(sides)
		}
		for _, s := range sides {
			u, err := s.run(ctx, i)
			if err != nil {
				return nil, err
			}
			*s.u = u
			fmt.Fprintf(b.log, "  %d %s: %.2f CPU s, %.2f s, %.1f MB in memory", i+1, s.name, u.CPU, u.Wall, float64(u.RSS)/1e6)
			if u.Disk > 0 {
				fmt.Fprintf(b.log, ", %.1f MB on disk", float64(u.Disk)/1e6)
			}
			if u.Size > 0 {
				fmt.Fprintf(b.log, ", image %.1f MB", float64(u.Size)/1e6)
			}
			fmt.Fprintln(b.log)
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}
